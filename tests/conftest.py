"""Every annotated shape and dtype in gdna is checked while the tests run (numba kernels excepted)."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

SOURCE = Path(__file__).resolve().parents[1] / "src"


def _leaf_modules() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages([str(SOURCE / "gdna")], "gdna.") if not m.ispkg]
    return [n for n in names if not n.endswith("_kernels") and not n.startswith("gdna.apps")]


install_import_hook(_leaf_modules(), "beartype.beartype")


@pytest.fixture(scope="session")
def open_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people in draped cloth, made by the command line; the dearest thing that tests make, so it is made once."""
    from gdna.apps import cli

    folder = tmp_path_factory.mktemp("scans") / "open_scans"
    assert cli.main(["synthesize", "count=2", "seed=0", f"out={folder}", "workers=2"]) == 0
    return folder
