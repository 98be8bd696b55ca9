"""Where in neutral space nobody ever is.

Posed samples supervise only those neutral points that some pose carries to them. Fields are free everywhere else, and
put parts there that float beside the person as soon as it stands in the canonical pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gdna.body.skeleton import JOINTS_OF
from gdna.data.prepared import PreparedSet
from gdna.data.sample_file import PreparedBody, body_on, from_fixed
from gdna.geometry.cores import each
from gdna.geometry.linalg import inverse_3x3, matvec

CELL = 0.025  # metres
MARGIN = 0.3  # metres around the neutral body: meshes are looked for as far, beyond the box of the features
SAMPLES = 5000  # inside points of a scan
REACH = 2  # cells around an inside point that count as reached
LOOSE = 0.03  # metres from the skin beyond which cloth does not follow the nearest vertex
LANDMARKS = 0.05  # metres between the vertices that it follows instead
SOFTNESS = (0.1, 0.3)  # how gradually it changes from one to another, in distances to the body: fields may learn either
LEAST = 0.01  # metres, the same for cloth that hardly clears the skin
ENDS = ("left_ankle", "right_ankle", "left_wrist", "right_wrist")  # bones from here on carry no loose cloth


@dataclass(frozen=True)
class EmptySpace:
    """Cells that lie outside of everybody in a set of scans. On the CPU, where steps draw."""

    low: Float[Tensor, "3"]  # of the cell (0, 0, 0), metres, neutral
    cells: Int[Tensor, "E 3"]  # x, y, z

    @staticmethod
    def of(data: PreparedSet) -> EmptySpace:
        """Of all scans of a set with points; the same set gives the same cells wherever it lies. Takes about 30 ms of a
        core a scan."""
        body = body_on(data.body, "cpu")
        followed = landmarks(body)
        parts = each(lambda scan: _inside_neutral(data, scan, body, followed), range(len(data)))
        low, high = (f(body.vertices_neutral, 0) for f in (torch.amin, torch.amax))
        low, high = low - MARGIN, high + MARGIN
        size = tuple(((high - low) / CELL).ceil().long().tolist())
        reached = _cells_of(torch.cat([body.vertices_neutral, *parts]), low, size)
        return EmptySpace(low, (~torch.from_numpy(_grown(reached))).nonzero())

    def draw(self, people: int, count: int, generator: torch.Generator) -> Float[Tensor, "B P 3"]:
        """`count` neutral points for each of some people, uniform in the empty cells."""
        which = torch.randint(len(self.cells), (people, count), generator=generator)
        return self.low + CELL * (self.cells[which] + torch.rand(people, count, 3, generator=generator))


def _inside_neutral(
    data: PreparedSet, scan: int, body: PreparedBody, followed: Int[Tensor, " L"]
) -> Float[Tensor, "N 3"]:
    """Inside points of one scan, in neutral space."""
    assert data.coarse is not None
    points = from_fixed(data.coarse.points[scan].cpu()[data.coarse.occupancy[scan].cpu()])
    points = points[torch.linspace(0, len(points) - 1, min(SAMPLES, len(points))).long()]
    skin = PosedSkin(
        data.vertices_posed[scan].cpu(),
        body.skin_weights @ data.bone_transforms[scan, :, :3].cpu().flatten(1),
        data.vertices_canonical[scan].cpu() - body.vertices_neutral,
    )
    return skin.to_neutral(points, followed)


@dataclass(frozen=True)
class PosedSkin:
    """A body's skin in one pose, and what moved each vertex there."""

    vertices_posed: Float[Tensor, "Vs 3"]
    transforms: Float[Tensor, "Vs 12"]  # canonical -> posed, rows of 3 x 4
    shifts: Float[Tensor, "Vs 3"]  # neutral -> canonical

    def to_neutral(self, points_posed: Float[Tensor, "N 3"], followed: Int[Tensor, " L"]) -> Float[Tensor, "M 3"]:
        """Points carried back with the nearest vertex, or those far from the skin with the vertices `followed`, mixed
        by distance (once for each softness).

        A skirt's cloth follows both legs, and fields learn it as a web between them; by nearest vertices it would tear
        in the middle, and the web would count as empty.
        """
        from scipy.spatial import cKDTree

        found, index = cKDTree(self.vertices_posed.numpy()).query(points_posed.numpy())
        loose, nearest = torch.from_numpy(found > LOOSE), torch.from_numpy(index)[found <= LOOSE]
        rigid = _carried_back(points_posed[~loose], self.transforms[nearest], self.shifts[nearest])
        points = points_posed[loose]
        apart = torch.cdist(points, self.vertices_posed[followed], compute_mode="donot_use_mm_for_euclid_dist")
        soft = []
        for softness in SOFTNESS:
            share = torch.softmax(-apart / (softness * apart.amin(1, keepdim=True) + LEAST), 1)
            soft.append(_carried_back(points, share @ self.transforms[followed], share @ self.shifts[followed]))
        return torch.cat([rigid, *soft])


def _carried_back(
    points_posed: Float[Tensor, "N 3"], transforms: Float[Tensor, "N 12"], shifts: Float[Tensor, "N 3"]
) -> Float[Tensor, "N 3"]:
    matrix = transforms.unflatten(-1, (3, 4))
    return matvec(inverse_3x3(matrix[..., :3]), points_posed - matrix[..., 3]) - shifts


def landmarks(body: PreparedBody) -> Int[Tensor, " L"]:
    """Vertices that loose cloth follows: one in every cell of the skin, since they lie denser on faces, but none of
    hands and feet, with which nothing but their own skin and shoes moves."""
    parents = tuple(body.parents.tolist())
    ends: set[int] = set()
    for bone, name in enumerate(JOINTS_OF.get(parents, ())):  # of a tree unknown here all bones carry cloth
        if name in ENDS or parents[bone] in ends:
            ends.add(bone)
    moves = ~torch.isin(body.skin_weights.argmax(1), torch.tensor(sorted(ends), dtype=torch.long))
    vertices = moves.nonzero()[:, 0]
    cells = np.floor(body.vertices_neutral[vertices].numpy() / LANDMARKS)
    return vertices[torch.from_numpy(np.unique(cells, axis=0, return_index=True)[1])]


def _cells_of(
    points: Float[Tensor, "N 3"], low: Float[Tensor, "3"], size: tuple[int, ...]
) -> Bool[np.ndarray, "X Y Z"]:
    """Cells with a point in them; points beyond the grid are left out."""
    index = ((points - low) / CELL).floor().long()
    within = ((index >= 0) & (index < torch.tensor(size))).all(1)
    filled = torch.zeros(size, dtype=torch.bool)
    filled[tuple(index[within].unbind(1))] = True
    return filled.numpy()


def _grown(reached: Bool[np.ndarray, "X Y Z"]) -> Bool[np.ndarray, "X Y Z"]:
    """Reached cells with those around them and those enclosed by them."""
    from scipy.ndimage import binary_dilation, binary_fill_holes

    steps = np.arange(-REACH, REACH + 1) ** 2
    ball = steps[:, None, None] + steps[:, None] + steps <= REACH**2
    return binary_fill_holes(binary_dilation(reached, ball))
