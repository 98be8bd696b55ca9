"""How correspondences are searched for."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdna.errors import GdnaError

BACKENDS = ("auto", "reference", "grid", "fused")
REPACK_GPU = 3
INIT_BONES = (0, 1, 2, 4, 5, 16, 17, 18, 19)  # pelvis, hips, knees, shoulders, elbows


@dataclass(frozen=True)
class GridSettings:
    """The grid of skinning weights in canonical space (metres) and the search on it. Outside the box the weights of its
    nearest face hold."""

    shape: tuple[int, int, int] = (20, 56, 56)  # z, y, x
    low: tuple[float, float, float] = (-1.1, -1.38, -0.3)
    high: tuple[float, float, float] = (1.1, 0.87, 0.3)
    steps: int = 10
    candidate: float = 0.1  # residual on the grid, metres, that is worth polishing
    polish_steps: int = 10


@dataclass(frozen=True)
class FusedSettings:
    """The search of the fused backend around that on the grid. Roots outside the grid's box are left out."""

    steps: int = 8  # on the grid
    near: float = 1e-3  # residual on the grid at which a start ends, metres
    candidate: float = 0.01  # residual on the grid, metres, that is worth polishing
    merge: float = 2e-3  # candidates closer than this are one, metres
    fold: float = 0.5  # smallest singular value of the map at a candidate from which its other side is sought; 0: never
    reach: tuple[float, float] = (0.03, 0.06)  # how far from it, metres
    evaluations: tuple[int, ...] = (3, 3, 6)  # of the networks per candidate, then of those that did not converge
    room: float = 3.0  # candidates per point that are held; on a GPU
    fold_room: float = 1.0  # starts beyond folds per point that are held; on a GPU


@dataclass(frozen=True)
class SearchSettings:
    max_steps: int = 50
    tolerance: float = 1e-5  # residual of a converged root, metres
    divergence: float = 1.0  # residual at which a start is given up, metres
    init_bones: tuple[int, ...] = INIT_BONES
    duplicate: float = 1e-3  # roots closer than this are one, metres
    backend: str = "auto"
    grid: GridSettings = field(default_factory=GridSettings)
    fused: FusedSettings = field(default_factory=FusedSettings)

    def repack_for(self, device: str) -> int:
        """Steps between dropping finished points: on a GPU they cost less than the waiting."""
        return REPACK_GPU if device == "cuda" else 1

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise GdnaError(f"search backend {self.backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
