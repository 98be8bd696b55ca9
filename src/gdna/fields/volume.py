"""Reading a feature volume at points: by torch, and by kernels for volumes whose channels lie side by side."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from gdna.geometry.devices import has_triton, launching_on

BLOCK = 16  # points a program; a tile of them and 64 channels is 1024 numbers


def read_volume(volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N C"]:
    """Trilinear read at points (x, y, z) in [-1, 1]^3 of a (z, y, x) volume whose corners lie at +-1; zeros outside.

    In the points' precision, also where the volume was made in half of it. Without gradient mode, float32 on a CPU is
    read by a loop in a sixth of torch's time.
    """
    if _by_loops(volume, points):
        return read_by_loops(volume, points)
    channels = volume.shape[1]
    if volume.is_cuda and points.dtype == torch.float32 and channels & (channels - 1) == 0 and has_triton():
        return read_by_kernels(volume, points)
    return read_plainly(volume, points)


def read_plainly(volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N C"]:
    """The definition, on any device."""
    grid, volume = points[:, None, None], volume.to(points.dtype)
    values = torch.nn.functional.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return values[:, :, 0, 0].mT


def through_volume(
    volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"], of_values: Float[Tensor, "B N C"]
) -> Float[Tensor, "B N 3"]:
    """The gradient with respect to the points, given that with respect to what `read_volume` reads there."""
    if _by_loops(volume, points):
        return through_volume_by_loops(volume, points, of_values)
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        return torch.autograd.grad(read_volume(volume.detach(), points), points, of_values)[0]


def _by_loops(volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"]) -> bool:
    """Are these what `volume_loop_kernels` take, and is no gradient to be kept?"""
    return (
        not torch.is_grad_enabled()
        and points.device.type == "cpu"
        and points.dtype == volume.dtype == torch.float32
        and volume.permute(0, 2, 3, 4, 1).is_contiguous()
    )


def read_by_loops(volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N C"]:
    """The same, for float32 on a CPU and a volume whose channels lie side by side; without gradients."""
    from gdna.fields import volume_loop_kernels as loops

    out = points.new_empty(*points.shape[:2], volume.shape[1])
    for one, at, values in zip(volume.permute(0, 2, 3, 4, 1), points, out, strict=True):
        loops.read(one.numpy(), at.contiguous().numpy(), values.numpy())
    return out


def through_volume_by_loops(
    volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"], of_values: Float[Tensor, "B N C"]
) -> Float[Tensor, "B N 3"]:
    """`through_volume` for what `read_by_loops` takes."""
    from gdna.fields import volume_loop_kernels as loops

    out = torch.empty_like(points, memory_format=torch.contiguous_format)
    for one, at, given, found in zip(volume.permute(0, 2, 3, 4, 1), points, of_values.contiguous(), out, strict=True):
        loops.read_back(one.numpy(), at.contiguous().numpy(), given.numpy(), found.numpy())
    return out


def read_by_kernels(volume: Float[Tensor, "B C D H W"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N C"]:
    """The same, for float32 points and a power of two of channels, once differentiable."""
    return _Read.apply(volume.permute(0, 2, 3, 4, 1).contiguous(), points.contiguous())


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: Tensor, points: Tensor) -> Tensor:
        from gdna.fields import volume_kernels

        ctx.save_for_backward(volume, points)
        (_, depth, height, width, channels), count = volume.shape, points.shape[1]
        out = points.new_empty(len(points), count, channels)
        with launching_on(points):
            volume_kernels.read_kernel[(-(-count // BLOCK), len(points))](
                volume, points, out, count, D=depth, H=height, W=width, C=channels, BLOCK=BLOCK
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, Tensor]:
        from gdna.fields import volume_kernels

        volume, points = ctx.saved_tensors
        (_, depth, height, width, channels), count = volume.shape, points.shape[1]
        learns = ctx.needs_input_grad[0]
        of_volume = torch.zeros(volume.shape if learns else 1, dtype=torch.float32, device=volume.device)
        of_points = torch.empty_like(points)
        with launching_on(points):
            volume_kernels.read_back_kernel[(-(-count // BLOCK), len(points))](
                volume, points, of_out.contiguous(), of_volume, of_points, count,
                D=depth, H=height, W=width, C=channels, BLOCK=BLOCK, LEARNS=learns,
            )  # fmt: skip
        return of_volume.to(volume.dtype) if learns else None, of_points
