"""Make the shipped model from a trained one: all but the codes in half precision.

python scripts/release_model.py outputs/fine/checkpoints/last.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gdna.model.checkpoint import load_extra, load_model, save_checkpoint

RELEASED = Path(__file__).parents[1] / "src/gdna/model/released/gdna-open.safetensors"
KEPT = ("names", "betas", "step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=RELEASED)
    args = parser.parse_args()
    model, extra = load_model(args.checkpoint), load_extra(args.checkpoint)
    save_checkpoint(args.out, model, {k: extra[k] for k in KEPT if k in extra}, half=True)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, stage {model.config.stage}")


if __name__ == "__main__":
    main()
