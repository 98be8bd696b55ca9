"""What may be asked of the benchmark. Free of torch, so that the command line's help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gdna.errors import GdnaError
from gdna.keys import HELP, key

ROWS = ("coarse_step", "search", "mesh_256", "mesh_512", "fine_step", "cache_view", "animate")


class Scale(Enum):
    full = "full"
    tiny = "tiny"


@dataclass(frozen=True)
class Sizes:
    """How much work a row does."""

    people: int = 16  # of a coarse step
    points: int = 2000  # near the surface, of each; an eighth as many in the box
    search_points: int = 36_000
    fine_people: int = 8
    surface_points: int = 2000
    image_size: int = 256
    resolutions: tuple[int, int] = (256, 512)  # of mesh_256 and mesh_512
    animated: int = 256  # resolution of the mesh that is animated
    frames: int = 16
    search_steps: int = 50  # Broyden's, of the coarse stage
    ray_steps: int = 128
    views: int = 18  # of a scan, from one mesh


SIZES = {Scale.full: Sizes(), Scale.tiny: Sizes(2, 32, 64, 2, 32, 16, (16, 24), 24, 2, 8, 16, 2)}


@dataclass(frozen=True)
class BenchSettings:
    """Which rows, where, and for how long."""

    out: str = key("bench.json", "file of the results")
    rows: tuple[str, ...] = key(ROWS, "what is timed")
    device: str = key("auto", "cpu, cuda, cuda:1 or auto")
    seconds: float = key(60.0, "a row's time, and its reference's; what would take longer runs once or not at all")
    threads: int = key(0, "CPU threads; 0: torch's own choice")
    scale: Scale = field(default=Scale.full, metadata={HELP: "tiny: every row in seconds, to see that it runs"})

    def __post_init__(self) -> None:
        unknown = [name for name in self.rows if name not in ROWS]
        if unknown or not self.rows:
            raise GdnaError(f"rows: found {unknown or 'none'}, expected some of {', '.join(ROWS)}")
        if not self.seconds > 0 or self.threads < 0:
            raise GdnaError(f"seconds={self.seconds} threads={self.threads}: expected above 0, and 0 or more")
