"""Pictures and films on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from gdna.errors import GdnaError
from gdna.geometry.files import atomic_path

QUALITY = 18  # x264's constant rate factor; below about 18 the eye sees no loss
WHITE = 255


def save_png(path: Path | str, image: UInt8[np.ndarray, "H W 3"]) -> None:
    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


def write_video(path: Path | str, frames: Iterable[UInt8[np.ndarray, "H W 3"]], frame_rate: float) -> int:
    """H.264 in an mp4, written as the frames come; returns their number. Odd sizes get one more white row or column.

    Raises `GdnaError` where there is no frame or their sizes differ.
    """
    import av

    count = 0
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        rate = Fraction(frame_rate).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(QUALITY), "preset": "medium"})
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            even = _even(frame)
            if count == 0:
                stream.height, stream.width = even.shape[:2]
            elif even.shape[:2] != (stream.height, stream.width):
                raise GdnaError(
                    f"{path}: frame {count} is {frame.shape[1]} x {frame.shape[0]} pixels, "
                    f"the ones before {stream.width} x {stream.height}; give frames of one size"
                )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            count += 1
        if count == 0:
            raise GdnaError(f"{path}: no frames to write; expected at least one")
        container.mux(stream.encode(None))
    return count


def _even(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=WHITE)


def trim_pairs(images: Sequence[UInt8[np.ndarray, "H W2 3"]], margin: int = 6) -> list[UInt8[np.ndarray, "h w2 3"]]:
    """Pictures of two halves (shaded | normals), each half cut to where any half of any picture is not white, so that
    people fill a sheet. All white pictures are kept as they are."""
    halves = [half for image in images for half in np.split(image, 2, axis=1)]
    drawn = np.any([(half < WHITE).any(-1) for half in halves], axis=0)
    if not drawn.any():
        return list(images)
    (top, bottom), (left, right) = (
        (max(0, int(line[0]) - margin), int(line[-1]) + margin + 1)
        for line in (np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0)))
    )
    cut = [half[top:bottom, left:right] for half in halves]
    return [np.concatenate(pair, axis=1) for pair in zip(cut[::2], cut[1::2], strict=True)]


def contact_sheet(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], columns: int, pad: int = 8, labels: Sequence[str] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Images in rows of `columns` on white, `pad` pixels apart, each centred in its cell, with its label below.

    Raises `GdnaError` where there is no image or the labels are not one each.
    """
    if not images or columns < 1:
        raise GdnaError(
            f"contact_sheet: found {len(images)} images in {columns} columns; expected at least one of each"
        )
    if labels is not None and len(labels) != len(images):
        raise GdnaError(f"contact_sheet: found {len(labels)} labels for {len(images)} images; expected one each")
    label_height = 0 if labels is None else 18
    height, width = max(i.shape[0] for i in images), max(i.shape[1] for i in images)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cell_height, cell_width = height + label_height + pad, width + pad
    sheet = Image.new("RGB", (columns * cell_width + pad, rows * cell_height + pad), (WHITE,) * 3)
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        top, left = pad + index // columns * cell_height, pad + index % columns * cell_width
        sheet.paste(
            Image.fromarray(image), (left + (width - image.shape[1]) // 2, top + (height - image.shape[0]) // 2)
        )
        if labels is not None:
            middle = (left + width / 2, top + height + label_height / 2)
            draw.text(middle, labels[index], fill=(60, 60, 60), anchor="mm", font=ImageFont.load_default(13))
    return np.asarray(sheet)
