"""Surfaces out of functions and models: refinement against the dense grid, avatars, posing, mesh helpers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from gdna.body.skeleton import PARENTS, blend_skinning, bone_transforms
from gdna.errors import GdnaError
from gdna.extract import samples as samples_module
from gdna.extract.avatar_mesh import INFLUENCES, MeshQuality, body_box, extract_avatar, prune
from gdna.extract.cube_cases import CORNERS, EDGES, cube_cases
from gdna.extract.iso_surface import marching_cubes, polished
from gdna.extract.lattice import AT_CORNERS, AT_FACES, AT_HALVES, PAD, Lattice
from gdna.extract.pose import pose_mesh
from gdna.extract.refine import extract_surface, extract_surface_dense, find_surface
from gdna.extract.samples import Samples, WholeSamples
from gdna.geometry.mesh import (
    connected_parts,
    face_areas,
    face_normals,
    fuse_normals,
    largest_component,
    sample_surface,
    vertex_normals,
)
from gdna.model.avatar_model import AvatarModel
from gdna.model.bound import BoundFields
from gdna.model.config import ModelConfig, OccupancyConfig
from gdna.types import AvatarMesh, Subject

LOW, HIGH = torch.tensor([-0.99, -1.3, -0.3]), torch.tensor([0.99, 0.85, 0.3])


def bones(side: float) -> list[tuple[list[float], list[float], float]]:
    s = side
    return [
        ([s * 0.1, 0.33, 0], [s * 0.4, 0.32, 0], 0.06), ([s * 0.4, 0.32, 0], [s * 0.66, 0.3, 0], 0.045),
        ([s * 0.66, 0.3, 0], [s * 0.8, 0.3, 0.01], 0.02), ([s * 0.8, 0.3, 0.01], [s * 0.84, 0.31, 0.02], 0.012),
        ([s * 0.09, -0.2, 0], [s * 0.3, -0.6, 0], 0.085), ([s * 0.3, -0.6, 0], [s * 0.5, -1.0, 0], 0.06),
    ]  # fmt: skip


TORSO = [([0, 0.1, 0], [0, -0.2, 0], 0.15), ([0, 0.1, 0], [0, 0.35, 0], 0.13), ([0, 0.35, 0], [0, 0.6, 0], 0.08)]
CAPSULES = [*TORSO, *bones(-1), *bones(1)]


def person(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Union of capsules, positive inside; the fingers are thinner than half a cell of the coarsest lattice."""
    distance = torch.full((len(points),), torch.inf)
    for start, end, radius in CAPSULES:
        a, ab = torch.tensor(start), torch.tensor(end) - torch.tensor(start)
        t = ((points - a) @ ab / (ab @ ab)).clamp(0, 1)
        distance = torch.minimum(distance, (points - a - t[:, None] * ab).norm(dim=1) - radius)
    return -distance


def sphere(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    return 0.2 - points.norm(dim=1)


def torus(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """A wire of 2.4 cm, thinner than half a cell of the coarsest lattice, met by it here and there."""
    ring = torch.stack([points[:, :2].norm(dim=1) - 0.62, points[:, 2] - 0.03], 1)
    return 0.012 - ring.norm(dim=1)


def in_order(vertices: Tensor) -> Tensor:
    return torch.tensor(sorted(map(tuple, vertices.tolist())))


def assert_same_points(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """In any order; metres."""
    assert len(found) == len(expected)
    for one, other in ((found, expected), (expected, found)):
        assert cKDTree(one.numpy()).query(other.numpy())[0].max() < tolerance


def volume(vertices: Tensor, faces: Tensor) -> float:
    a, b, c = vertices[faces].double().unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def assert_watertight(faces: Tensor) -> None:
    """Each directed edge once, and its reverse once."""
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    code, back = edges[:, 0] * 10**9 + edges[:, 1], edges[:, 1] * 10**9 + edges[:, 0]
    assert len(code.unique()) == len(code)
    assert torch.equal(code.sort().values, back.sort().values)


def assert_manifold(faces: Tensor) -> None:
    """Closed, and the faces at each vertex are one fan."""
    assert_watertight(faces)
    corners = torch.cat([faces, faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])  # vertex, then the edge opposite to it
    # a fan's edges, led from one to the next, join all its faces: one part per vertex
    nodes, index = (corners[:, :1] * 10**9 + corners[:, 1:]).unique(return_inverse=True)
    parts = connected_parts(index, len(nodes)).unique()
    assert len(parts) == len(faces.unique())


def euler_characteristic(faces: Tensor) -> int:
    """2 for a ball, 0 for a ring, summed over parts."""
    return len(faces.unique()) - 3 * len(faces) // 2 + len(faces)


def plate(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """1.6 cm thick and tilted: a quarter of a coarsest cell of its test, met in places only."""
    tilted = points @ torch.nn.functional.normalize(torch.tensor([0.1, 0.05, 1.0]), dim=0)
    return torch.minimum(0.008 - tilted.abs(), 0.45 - points[:, :2].norm(dim=1))


def two_balls(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    return torch.maximum(sphere(points), 0.1 - (points - torch.tensor([0.6, -0.5, 0.0])).norm(dim=1))


@pytest.mark.parametrize(("query", "euler", "parts"), [(sphere, 2, 1), (torus, 0, 1), (plate, 2, 1), (two_balls, 4, 2)])
@pytest.mark.parametrize("thorough", [True, False])
def test_shapes_keep_their_topology_and_place(query, euler, parts, thorough):
    surface, lattice = find_surface(query, LOW, HIGH, 256, start=32, thorough=thorough)
    assert_manifold(surface.faces)
    assert euler_characteristic(surface.faces) == euler
    edges = torch.cat([surface.faces[:, :2], surface.faces[:, 1:]])
    assert len(connected_parts(edges, len(surface.vertices)).unique()) == parts
    # a vertex lies off the surface by its value (a distance); most where the plate's rim bends within a cell
    assert query(polished(surface, [query] * 2)).abs().max() < 0.15 * lattice.step


def test_any_values_give_a_manifold_surface():
    """Noise has every case of a cell beside every other."""
    side = 24
    grid = torch.cartesian_prod(*(torch.arange(side),) * 3)
    values = torch.randn(side, side, side, generator=torch.Generator().manual_seed(0))
    for axis in range(3):  # outside at the border
        values.movedim(axis, 0)[[0, -1]] = -1.0
    base = (grid[(grid < side - 1).all(1)] * torch.tensor([side * side, side, 1])).sum(1)
    corners = (torch.tensor(CORNERS) * torch.tensor([side * side, side, 1])).sum(1)
    surface = marching_cubes(grid.float(), values.flatten(), base[:, None] + corners)
    assert len(surface.faces) > 10_000
    assert_manifold(surface.faces)
    assert volume(surface.vertices, surface.faces) == pytest.approx((values > 0).sum(), rel=0.5)


@pytest.mark.parametrize("case", range(1, 255))
def test_inside_and_outside_corners_are_told_apart(case):
    """The triangles of a cube use each cut edge, and turn with their normals from inside to outside corners."""
    triangles = [t for t in cube_cases().triangles[case].tolist() if t[0] >= 0]
    inside = [bool(case >> corner & 1) for corner in range(8)]
    cut = {edge for edge, (start, end) in enumerate(EDGES) if inside[start] != inside[end]}
    assert {edge for triangle in triangles for edge in triangle} == cut
    if sum(inside) == 1:
        middle = torch.tensor(CORNERS, dtype=torch.float)[torch.tensor(EDGES)].mean(1)
        a, b, c = middle[torch.tensor(triangles[0])]
        outward = middle[triangles[0][0]] - torch.tensor(CORNERS[inside.index(True)], dtype=torch.float)
        assert torch.linalg.cross(b - a, c - a) @ outward > 0


@pytest.mark.parametrize(
    ("query", "resolution"), [(sphere, 64), (person, 64), (person, 128), (torus, 128), (plate, 128)]
)
def test_sparse_equals_dense(query, resolution):
    vertices, faces = extract_surface(query, LOW, HIGH, resolution)
    expected, expected_faces = extract_surface_dense(query, LOW, HIGH, resolution)
    assert len(faces) == len(expected_faces)
    # the same values at the same lattice points: only the rounding of a different batch is left
    assert_same_points(vertices, expected, 1e-5)
    assert_watertight(faces)
    assert volume(vertices, faces) > 0
    # the polygons of a cell are cut along other diagonals
    assert volume(expected, expected_faces) == pytest.approx(volume(vertices, faces), rel=1e-2)


@pytest.mark.parametrize(("query", "start", "room"), [(person, 16, 0), (torus, 32, 0), (person, 16, 2**26)])
def test_the_way_of_gpus_finds_the_same_surface(query, start, room, monkeypatch):
    monkeypatch.setattr(samples_module, "MOST_WHOLE", room)  # brick by brick, and with room for the whole lattice
    batches = []

    def counted(points: Tensor) -> Tensor:
        batches.append(len(points))
        return query(points)

    found, _ = find_surface(counted, LOW, HIGH, 128, start=start, thorough=True)
    expected, _ = find_surface(query, LOW, HIGH, 128, start=32, thorough=False)
    assert_same_points(found.vertices, expected.vertices, 1e-5)
    assert len(found.faces) == len(expected.faces)
    assert_watertight(found.faces)
    assert len(batches) < 12


def test_points_keep_their_places_in_every_numbering():
    lattice = Lattice(torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64), 0.25, (13, 4, 21))
    places = torch.cartesian_prod(*(torch.arange(1, n + 2 * PAD - 2) for n in lattice.cells))
    number = lattice.number_of(places)
    assert len(number.unique()) == len(number)
    assert torch.equal(lattice.coordinates(number), places)
    for offsets in (AT_CORNERS, AT_FACES, AT_HALVES):
        there = places[:, None] + torch.tensor(offsets)
        assert torch.equal(lattice.neighbours(number, offsets), lattice.number_of(there))
    finer = lattice.halved()
    halved = lattice.halved_number(number, finer)
    assert torch.equal(finer.points(finer.coordinates(halved)), lattice.points(places))


def test_samples_with_room_for_all_answer_as_those_by_the_brick():
    lattice = Lattice(torch.full((3,), -0.6, dtype=torch.float64), 0.1, (12, 12, 7))
    cells = lattice.all_cells()[::5]
    corners = lattice.neighbours(cells, AT_CORNERS)
    found = []
    for room in (Samples, WholeSamples):
        samples = room(sphere, lattice, 0.05)
        slots = samples.need(corners)
        samples.seen[slots[:40, 0]] = True
        asked = torch.cat([cells[:80], torch.full((3,), -1), cells[:80]])
        unseen = samples.unseen(asked)
        assert torch.equal(samples.numbers(slots.flatten()), corners.flatten())
        found.append((samples.values[slots], samples.points(slots.flatten()), unseen.sort().values))
    for by_brick, whole in zip(*found, strict=True):
        assert torch.equal(by_brick, whole)
    assert torch.equal(found[0][2], cells[40:80].sort().values)


def test_vertices_lie_on_the_surface():
    vertices, faces = extract_surface(sphere, LOW, HIGH, 128)
    # linear interpolation of a distance that bends with radius r errs by about step^2 / (8 r)
    assert (vertices.norm(dim=1) - 0.2).abs().max() < (2.15 / 128) ** 2 / 0.8
    assert volume(vertices, faces) == pytest.approx(4 / 3 * torch.pi * 0.2**3, rel=0.02)
    outward = (face_normals(vertices, faces) * torch.nn.functional.normalize(vertices[faces].mean(1), dim=1)).sum(1)
    assert outward[face_areas(vertices, faces) > 1e-7].min() > 0.9


def test_polish_takes_the_terraces_away():
    def steep(points: Tensor) -> Tensor:
        """A logit: 300 a metre near the surface, flat away from it, and flatter outside than inside."""
        distance = sphere(points)
        return torch.where(distance > 0, 6 * (50 * distance).tanh(), 2 * (150 * distance).tanh())

    plain, faces = extract_surface(steep, LOW, HIGH, 64)
    polished, same_faces = extract_surface(steep, LOW, HIGH, 64, polish=2)
    assert torch.equal(faces, same_faces)
    error, left = ((vertices.norm(dim=1) - 0.2).abs() for vertices in (plain, polished))
    assert error.mean() > 2e-3  # metres; a cell is 34 mm
    assert left.mean() < 0.2 * error.mean()
    assert (polished - plain).abs().max() < 2.15 / 64


def test_few_questions_in_few_batches():
    batches = []

    def counted(points: Tensor) -> Tensor:
        batches.append(len(points))
        return person(points)

    extract_surface(counted, LOW, HIGH, 128, start=16)
    assert sum(batches) < 27_000  # the crossed cells alone have 19,000 corners, the dense grid 600,000
    assert len(batches) < 25


def test_start_does_not_matter_to_what_hangs_together():
    fine, _ = extract_surface(person, LOW, HIGH, 64, start=16)
    coarse, _ = extract_surface(person, LOW, HIGH, 64, start=64)
    assert_same_points(fine, coarse, 1e-5)


def test_level_and_odd_resolution():
    vertices, _ = extract_surface(lambda p: 5 - 10 * p.norm(dim=1), LOW, HIGH, 51, level=2.0)
    torch.testing.assert_close(vertices.norm(dim=1), torch.full((len(vertices),), 0.3), atol=2e-3, rtol=0)


def test_a_surface_that_leaves_the_box_is_closed_there():
    def pillar(points: Tensor) -> Tensor:
        return 0.2 - points[:, [0, 2]].norm(dim=1)

    low, high = torch.full((3,), -0.5), torch.full((3,), 0.5)
    polished = partial(extract_surface, polish=2)
    for extract in (extract_surface, polished, extract_surface_dense):
        vertices, faces = extract(pillar, low, high, 64)
        assert_watertight(faces)
        assert vertices.abs().max() == 0.5
        assert volume(vertices, faces) == pytest.approx(torch.pi * 0.04, rel=0.02)
    everything, faces = extract_surface(lambda p: torch.ones(len(p)), low, high, 32)
    assert volume(everything, faces) == pytest.approx(1.0, rel=1e-5)


def test_resolution_is_rounded_up():
    odd, even = (extract_surface(person, LOW, HIGH, resolution) for resolution in (127, 128))
    assert torch.equal(in_order(odd[0]), in_order(even[0]))


def test_nothing_inside_gives_no_faces():
    vertices, faces = extract_surface(lambda p: -torch.ones(len(p)), LOW, HIGH, 64)
    assert vertices.shape == (0, 3)
    assert faces.shape == (0, 3)


def test_a_box_turned_inside_out_is_refused():
    with pytest.raises(GdnaError, match="low below high"):
        extract_surface(sphere, HIGH, LOW, 64)


class CapsuleModel(AvatarModel):
    """Answers otherwise: a capsule person and a ball beside it, weights by distance, normals to the front."""

    def __init__(self, stage: str = "fine", size: float = 1.0) -> None:
        super().__init__(ModelConfig(stage=stage, num_betas=10))
        self.centres = torch.tensor([s for s, _, _ in CAPSULES] + [[0.0, 0.1 * i, 0.0] for i in range(9)])
        self.size = size

    def bind(self, subject: Subject) -> BoundFields:
        fine = self.config.stage == "fine"
        return BoundFields(
            lambda points: points + 0.01 * subject.betas[:, None, :3],
            self._occupancy,
            self._occupancy,
            lambda neutral: (-10 * torch.cdist(neutral[0], self.centres)).softmax(1)[None],
            (lambda neutral, _: torch.tensor([0.0, 0.0, 1.0]).expand_as(neutral)) if fine else None,
        )

    def _occupancy(self, neutral: Tensor) -> tuple[Tensor, Tensor]:
        points = neutral[0] - 0.01
        ball = 0.1 - (points - torch.tensor([0.6, -0.5, 0.0])).norm(dim=1)
        logits = torch.maximum(person(points), ball) * self.size + (self.size - 1)
        return 100 * logits[None], neutral[..., :2]


def one_subject(people: int = 1) -> Subject:
    return Subject(torch.ones(people, 10), *torch.zeros(2, people, 64), torch.zeros(people, 64, 2, 2, 2))


BODY = torch.tensor([[-0.86, -1.0, -0.15], [0.86, 0.68, 0.15]])


@pytest.mark.parametrize("stage", ["coarse", "fine"])
def test_avatar_is_the_largest_part_with_weights_and_normals(stage):
    joints = torch.zeros(24, 3)
    avatar = extract_avatar(CapsuleModel(stage), one_subject(), BODY, joints, PARENTS, 64)
    assert_watertight(avatar.faces)
    assert person(avatar.vertices).abs().max() < 0.01  # so the ball is gone; a third of a cell of 35 mm
    assert len(avatar.vertices) == len(avatar.faces.unique())
    torch.testing.assert_close(avatar.skin_weights.sum(1), torch.ones(len(avatar.vertices)))
    assert (avatar.skin_weights > 0).sum(1).max() == INFLUENCES
    torch.testing.assert_close(avatar.normals.norm(dim=1), torch.ones(len(avatar.vertices)))
    own = vertex_normals(avatar.vertices, avatar.faces)
    if stage == "coarse":
        assert torch.equal(avatar.normals, own)
    else:
        torch.testing.assert_close(avatar.normals, fuse_normals(torch.tensor([0.0, 0, 1]).expand_as(own), own))


def test_avatar_says_what_is_wrong():
    with pytest.raises(GdnaError, match="is it trained"):
        extract_avatar(CapsuleModel(size=0.0), one_subject(), BODY, torch.zeros(24, 3), PARENTS, 32)
    with pytest.raises(GdnaError, match="found 2 people"):
        extract_avatar(CapsuleModel(), one_subject(2), BODY, torch.zeros(24, 3), PARENTS, 32)


def test_body_box_has_room_for_clothes():
    low, high = body_box(BODY)
    torch.testing.assert_close(BODY[0] - low, torch.full((3,), 0.05 * 1.72 + 0.08))
    torch.testing.assert_close(high - BODY[1], torch.full((3,), 0.05 * 1.72 + 0.08))


def test_a_small_random_network_has_the_dense_grids_surface():
    torch.manual_seed(1)
    model = AvatarModel(ModelConfig(num_betas=10, network=OccupancyConfig(width=64, bias=0.6)))
    with torch.no_grad():
        fields = model.bind(model.subject(model.codes(torch.tensor([0])), torch.ones(1, 10)))

        def query(points: Tensor) -> Tensor:
            return fields.occupancy(fields.to_neutral(points[None]))[0][0]

        low, high = torch.tensor([-0.9, -1.2, -0.3]), torch.tensor([0.9, 0.7, 0.3])
        surface, lattice = find_surface(query, low, high, 64)
        expected, _ = extract_surface_dense(query, low, high, 64)
        assert_manifold(surface.faces)
        # batches round differently: a thousandth of a cell
        assert_same_points(lattice.clamped(surface.vertices), expected, 1e-3 * lattice.step)
        within = (lattice.clamped(surface.vertices) == surface.vertices).all(1)
        error = (polished(surface, [query]) - polished(surface, [query] * 8)).norm(dim=1)[within]
        assert error.mean() < 0.01 * lattice.step


def test_an_untrained_model_gives_an_avatar_in_both_precisions():
    torch.manual_seed(0)
    model = AvatarModel(ModelConfig(stage="fine", num_betas=10))
    with torch.no_grad():
        subject = model.subject(model.codes(torch.tensor([0])), torch.zeros(1, 10))
    full, half = (
        extract_avatar(model, subject, BODY / 4, torch.zeros(24, 3), PARENTS, 16, MeshQuality(precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert full.vertices.dtype == half.vertices.dtype == full.normals.dtype == half.skin_weights.dtype == torch.float32
    assert len(half.vertices) == pytest.approx(len(full.vertices), rel=0.02)


def test_pruned_weights_keep_the_largest():
    weights = torch.tensor([[0.5, 0.2, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[0.5, 0.2, 0.2, 0.0], [0.9, 0.0, 0.0, 0.0]]) / 0.9
    torch.testing.assert_close(prune(weights, 3), expected)
    assert torch.equal(prune(weights, 8), weights)


@pytest.fixture(scope="module")
def avatar() -> AvatarMesh:
    vertices, faces = extract_surface(person, LOW, HIGH, 64)
    joints = 0.4 * torch.rand(24, 3, generator=torch.Generator().manual_seed(3))
    weights = prune((-8 * torch.cdist(vertices, joints)).softmax(1), INFLUENCES)
    return AvatarMesh(vertices, faces, vertex_normals(vertices, faces), weights, joints, PARENTS)


def transforms(avatar: AvatarMesh, frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    rotations = 0.5 * torch.randn(frames, 24, 3, generator=generator)
    joints = avatar.joints.expand(frames, -1, -1)
    return bone_transforms(rotations, joints, torch.randn(frames, 3, generator=generator))


def test_posed_vertices_and_normals_equal_the_plain_formulas(avatar):
    bones = transforms(avatar, 6)  # more than are posed at once
    posed = list(pose_mesh(avatar, bones))
    assert len(posed) == 6
    expected = blend_skinning(avatar.vertices.expand(6, -1, -1), avatar.skin_weights, bones)
    blended = torch.einsum("vj,tjab->tvab", avatar.skin_weights.double(), bones[:, :, :3, :3].double())
    cofactor = torch.linalg.det(blended)[..., None, None] * torch.linalg.inv(blended).mT
    normals = torch.nn.functional.normalize((cofactor @ avatar.normals.double()[..., None])[..., 0], dim=-1)
    for frame, mesh in enumerate(posed):
        torch.testing.assert_close(mesh.vertices, expected[frame], atol=2e-6, rtol=0)
        torch.testing.assert_close(mesh.normals, normals[frame].float(), atol=1e-4, rtol=0)


def test_posing_by_nothing_changes_nothing(avatar):
    (mesh,) = pose_mesh(avatar, torch.eye(4).expand(1, 24, 4, 4))
    torch.testing.assert_close(mesh.vertices, avatar.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(mesh.normals, avatar.normals, atol=1e-5, rtol=0)


def test_wrong_number_of_bones_is_refused_at_once(avatar):
    with pytest.raises(GdnaError, match="23 bone transforms"):
        pose_mesh(avatar, torch.eye(4).expand(1, 23, 4, 4))


def test_fused_normals_follow_the_fine_ones_only_where_they_agree():
    coarse = torch.tensor([0.0, 0.0, 1.0])
    angle = torch.tensor([0.0, 0.3, 2.5])
    fine = torch.stack([angle.sin(), torch.zeros(3), angle.cos()], 1)
    fused = fuse_normals(fine, coarse.expand_as(fine))
    found = torch.atan2(fused[:, 0], fused[:, 2])
    assert found[0] == 0
    assert 0.29 < found[1] < 0.3  # c = 0.978, confidence 0.994
    assert found[2] < 0.01  # c = 0.099, confidence 4e-5


def test_surface_samples_are_even_and_repeatable(avatar):
    first, again = (
        sample_surface(avatar.vertices, avatar.faces, 20_000, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    assert torch.equal(first.points, again.points)
    torch.testing.assert_close(first.interpolate(avatar.vertices, avatar.faces), first.points)
    area = face_areas(avatar.vertices, avatar.faces)
    left = avatar.vertices[avatar.faces].mean(1)[:, 0] < 0.2
    share = float((area * left).sum() / area.sum())
    assert float(left[first.faces].float().mean()) == pytest.approx(share, abs=4 * (0.25 / 20_000) ** 0.5)
    with pytest.raises(GdnaError, match="no area"):
        sample_surface(avatar.vertices, avatar.faces[:0], 10, torch.Generator())


def test_largest_component_goes_by_area():
    small, faces = extract_surface(sphere, LOW, HIGH, 64)
    corners = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]])
    kept, left = largest_component(torch.cat([small, corners]), torch.cat([faces, torch.arange(3)[None] + len(small)]))
    assert torch.equal(kept, torch.arange(3) + len(small))
    assert torch.equal(left, torch.tensor([[0, 1, 2]]))
