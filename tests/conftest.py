"""Every annotated shape and dtype in gdna is checked while the tests run (numba kernels excepted)."""

from __future__ import annotations

import pkgutil
from pathlib import Path

from jaxtyping import install_import_hook

SOURCE = Path(__file__).resolve().parents[1] / "src"


def _leaf_modules() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages([str(SOURCE / "gdna")], "gdna.") if not m.ispkg]
    return [n for n in names if not n.endswith("_kernels") and not n.startswith("gdna.apps")]


install_import_hook(_leaf_modules(), "beartype.beartype")
