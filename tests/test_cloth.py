"""Properties of the cloth engine on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from gdna.errors import GdnaError
from gdna.synthesize import cloth_kernels
from gdna.synthesize.cloth import BodyPath, Draped, DrapeSettings, Dynamics, Fabric, Garment, drape
from gdna.synthesize.collider import ALL_BONES, Collider, allowed_masks
from gdna.synthesize.quads import (
    bend_triples,
    boundary_loops,
    boundary_mask,
    catmull_clark,
    laplacian,
    triangulate,
    unique_edges,
    vertex_normals,
)
from gdna.synthesize.tangle import tangled, untangle

BONES = 24


def grid(count: int, size: float, height: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A square sheet in the plane y = height, its outer side up."""
    side = np.linspace(-size / 2, size / 2, count)
    z, x = np.meshgrid(side, side, indexing="ij")
    index = np.arange(count * count).reshape(count, count)
    quads = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]], -1).reshape(-1, 4)
    return np.stack([x.ravel(), np.full(x.size, height), z.ravel()], 1), quads


def tube(rings: int, around: int, radius: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    """An open cylinder about the x axis from 0 to `length`."""
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    along = np.linspace(0, length, rings)
    x, a = np.meshgrid(along, angle, indexing="ij")
    vertices = np.stack([x, radius * np.cos(a), radius * np.sin(a)], -1).reshape(-1, 3)
    i = np.arange(rings * around).reshape(rings, around)
    nxt = np.roll(i, -1, 1)
    return vertices, np.stack([i[:-1], nxt[:-1], nxt[1:], i[1:]], -1).reshape(-1, 4)


def sphere(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A cube subdivided and put on a sphere."""
    vertices, quads = cube()
    for _ in range(4):
        step = catmull_clark(quads, len(vertices))
        vertices, quads = step.smooth @ vertices, step.quads
    return radius * vertices / np.linalg.norm(vertices, axis=1, keepdims=True), triangulate(quads)


def cube() -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return corners, quads


def one_bone(count: int) -> np.ndarray:
    weights = np.zeros((count, BONES))
    weights[:, 0] = 1
    return weights


def still(vertices: np.ndarray, faces: np.ndarray, frames: int) -> BodyPath:
    return BodyPath(
        np.repeat(vertices[None], frames, 0), faces, one_bone(len(vertices)), np.tile(np.eye(4), (frames, BONES, 1, 1))
    )


def far_away(frames: int) -> BodyPath:
    vertices, faces = sphere(0.05)
    return still(vertices - [0, 20, 0], faces, frames)


def sheet(name: str, vertices: np.ndarray, quads: np.ndarray, pinned: np.ndarray | None = None) -> Garment:
    held = np.zeros(len(vertices), bool) if pinned is None else pinned
    return Garment(name, vertices, quads, one_bone(len(vertices)), held, fabric=Fabric())


QUICK = DrapeSettings(levels=1, takes_over=(0.0, 0.7), settle=(0, 4), sweeps=(2, 1), warm_up=0)


@pytest.fixture(scope="module")
def fallen() -> tuple[Draped, np.ndarray]:
    """A sheet that falls onto a sphere, and the sphere."""
    ball, faces = sphere(0.12)
    vertices, quads = grid(13, 0.4, 0.14)
    return drape(sheet("cloth", vertices, quads), still(ball, faces, 14), QUICK), ball


class TestDrape:
    def test_hung_by_two_corners_it_keeps_its_size(self):
        vertices, quads = grid(11, 0.4)
        pinned = np.zeros(len(vertices), bool)
        pinned[[0, 10]] = True
        settings = DrapeSettings(levels=0, takes_over=(0.0,), settle=(10,), sweeps=(8,), warm_up=0)
        hung = drape(sheet("flag", vertices, quads, pinned), far_away(30), settings)
        ends = unique_edges(quads).ends
        rest = np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1)
        length = np.linalg.norm(hung.vertices[ends[:, 0]] - hung.vertices[ends[:, 1]], axis=1)
        np.testing.assert_allclose(length / rest, 1, atol=0.03)
        np.testing.assert_allclose(hung.vertices[pinned], vertices[pinned], atol=1e-12)
        assert hung.vertices[:, 1].min() < -0.3

    def test_on_a_sphere_no_vertex_is_inside(self, fallen):
        cloth, _ = fallen
        radius = np.linalg.norm(cloth.vertices, axis=1)
        # the sphere's triangles lie up to 0.3 mm inside it
        assert radius.min() > 0.12 + 0.0035 - 0.0005
        assert cloth.vertices[:, 1].min() < 0.1

    def test_layers_stay_in_order(self, fallen):
        inner, ball = fallen
        _, faces = sphere(0.12)
        vertices, quads = grid(13, 0.36, 0.15)
        outer = drape(sheet("top", vertices, quads), still(ball, faces, 14), QUICK, [inner])
        surface = Collider(inner.vertices[None], triangulate(inner.quads), np.ones(2 * len(inner.quads), np.int64))
        found = np.full(len(outer.vertices), -1)
        surface.nearest(outer.vertices, np.ones(len(found), np.int64), 0.05, found)
        triangle = surface.faces[found]
        height = ((outer.vertices - surface.vertices[triangle[:, 0]]) * surface.normals[triangle].mean(1)).sum(1)
        assert (found >= 0).all()
        assert height.min() > 0.001
        by_edge, _ = surface.crossings(outer.vertices, unique_edges(outer.quads).ends)
        assert not by_edge.any()

    def test_bent_by_ninety_degrees_it_does_not_tear(self):
        """A sleeve around an elbow: bones 18 (upper) and 20 (lower)."""
        limb, limb_quads = tube(31, 14, 0.045, 0.6)
        sleeve, quads = tube(19, 16, 0.055, 0.44)
        sleeve[:, 0] += 0.08

        def weights(points: np.ndarray) -> np.ndarray:
            lower = np.clip((points[:, 0] - 0.26) / 0.08, 0, 1)
            result = np.zeros((len(points), BONES))
            result[:, 18], result[:, 20] = 1 - lower, lower
            return result

        frames = 16
        turns = []
        for angle in np.linspace(0, np.pi / 2, frames):
            turn = np.tile(np.eye(4), (BONES, 1, 1))
            c, s = np.cos(angle), np.sin(angle)
            turn[20, :3, :3] = [[c, -s, 0], [s, c, 0], [0, 0, 1]]
            turn[20, :3, 3] = [0.3, 0, 0] - turn[20, :3, :3] @ [0.3, 0, 0]
            turns.append(turn)
        transforms = np.stack(turns)
        mixed = np.einsum("vj,tjab->tvab", weights(limb), transforms)
        posed = np.einsum("tvab,vb->tva", mixed[..., :3], limb) + mixed[..., 3]
        path = BodyPath(posed[..., :3], triangulate(limb_quads), weights(limb), transforms)
        garment = Garment("sleeve", sleeve, quads, weights(sleeve), np.zeros(len(sleeve), bool))
        bent = drape(garment, path, QUICK)
        assert bent.diagnostics.stretch_p99 < 1.3
        assert bent.diagnostics.tangled < 0.08  # the crook of the limb passes through itself

    def test_is_deterministic(self, fallen):
        ball, faces = sphere(0.12)
        vertices, quads = grid(13, 0.4, 0.14)
        again = drape(sheet("cloth", vertices, quads), still(ball, faces, 14), QUICK)
        np.testing.assert_array_equal(again.vertices, fallen[0].vertices)

    def test_the_path_ends_in_the_result(self, fallen):
        cloth, _ = fallen
        assert cloth.path_vertices.shape[0] == 14
        np.testing.assert_array_equal(cloth.path_vertices[-1], cloth.vertices[: cloth.path_vertices.shape[1]])

    def test_errors_name_the_garment(self, fallen):
        vertices, quads = grid(4, 0.2)
        loose = Garment("scarf", np.zeros((17, 3)), quads, one_bone(17), np.zeros(17, bool))
        with pytest.raises(GdnaError, match="scarf"):
            drape(loose, far_away(3), QUICK)
        with pytest.raises(GdnaError, match="frames"):
            drape(sheet("scarf", vertices, quads), far_away(3), QUICK, [fallen[0]])
        with pytest.raises(GdnaError, match="one a level"):
            drape(sheet("scarf", vertices, quads), far_away(3), DrapeSettings(levels=5))


class TestKernels:
    """Each constraint by itself, against what it should be."""

    def test_stretch_shares_by_mass(self):
        x = np.array([[0.0, 0, 0], [2.0, 0, 0]])
        ends, rest = np.array([[0, 1]]), np.array([1.0])
        cloth_kernels.stretch(x, x.copy(), np.array([1.0, 3.0]), ends, rest, 0.0, 9.0, 0.0, False)
        np.testing.assert_allclose(x[:, 0], [0.25, 1.25], rtol=1e-9)

    def test_stretch_beyond_the_limit_is_rigid(self):
        x = np.array([[0.0, 0, 0], [2.0, 0, 0]])
        ends, rest = np.array([[0, 1]]), np.array([1.0])
        cloth_kernels.stretch(x, x.copy(), np.ones(2), ends, rest, 1e9, 1.1, 0.0, False)
        np.testing.assert_allclose(x[1, 0] - x[0, 0], 1.1, rtol=1e-6)

    def test_bend_flattens_without_moving_the_centre_of_mass(self):
        x = np.array([[-1.0, 0, 0], [0, 0.5, 0], [1.0, 0, 0]])
        triples, half = np.array([[0, 1, 2]]), np.array([0.5])
        cloth_kernels.bend(x, np.ones(3), triples, half, np.zeros(1), np.full(1, 9.0), np.zeros(1), False)
        np.testing.assert_allclose(x[1], 0.5 * (x[0] + x[2]), atol=1e-9)
        np.testing.assert_allclose(x.mean(0), [0, 0.5 / 3, 0], atol=1e-9)

    def test_height_over_a_rounded_triangle_is_that_over_the_sphere(self):
        """Phong tessellation follows a sphere to the second order."""
        vertices, faces = sphere(1.0)
        a, b, c = faces[37]
        centre = vertices[[a, b, c]].mean(0)
        point = 1.1 * centre / np.linalg.norm(centre)
        flat = cloth_kernels.height_over(*point, vertices, vertices, a, b, c, 0.0)[0]
        rounded = cloth_kernels.height_over(*point, vertices, vertices, a, b, c, 0.5)[0]
        assert flat - 0.1 > 5e-4
        assert abs(rounded - 0.1) < 0.03 * (flat - 0.1)

    def test_crossings_agree_with_brute_force(self):
        rng = np.random.default_rng(3)
        vertices, faces = sphere(1.0)
        collider = Collider(vertices[None], faces, np.ones(len(faces), np.int64))
        points = rng.normal(size=(80, 3))
        ends = np.arange(80).reshape(40, 2)
        by_edge, by_triangle = collider.crossings(points, ends)
        hits = np.zeros((40, len(faces)), bool)
        for k, (p, q) in enumerate(points[ends]):
            a, b, c = (vertices[faces[:, i]] for i in range(3))
            system = np.stack([b - a, c - a, np.broadcast_to(p - q, a.shape)], -1)
            u, v, s = np.linalg.solve(system, (p - a)[..., None])[..., 0].T
            hits[k] = (u > 0) & (v > 0) & (u + v < 1) & (s > 0) & (s < 1)
        np.testing.assert_array_equal(by_edge, hits.any(1))
        np.testing.assert_array_equal(by_triangle, hits.any(0))


class TestTangle:
    def crossing(self) -> tuple[np.ndarray, np.ndarray]:
        """A small loop: the sheet comes back through itself."""
        vertices, quads = grid(36, 1.0)
        x = vertices[:, 0].copy()
        vertices[:, 0] -= 2.2 * x * np.exp(-((x / 0.1) ** 2))
        vertices[:, 1] = 0.05 * np.exp(-((x / 0.1) ** 2))
        vertices[:, 2] += 0.02 * x  # no edge meets an edge
        return vertices, quads

    def test_finds_and_irons(self):
        vertices, quads = self.crossing()
        ends, faces = unique_edges(quads).ends, triangulate(quads)
        own = Collider(vertices[None], faces, np.full(len(faces), ALL_BONES))
        assert tangled(own, ends).any()
        own.move_to(untangle(vertices, faces, ends, laplacian(quads, len(vertices))))
        assert not tangled(own, ends).any()

    def test_a_flat_sheet_is_left_alone(self):
        vertices, quads = grid(9, 1.0)
        ends = unique_edges(quads).ends
        same = untangle(vertices, triangulate(quads), ends, laplacian(quads, len(vertices)))
        np.testing.assert_array_equal(same, vertices)


class TestCollider:
    def test_nearest_is_the_nearest_allowed(self):
        rng = np.random.default_rng(0)
        vertices, faces = sphere(1.0)
        vertices = vertices * [1, 0.5, 1.5]
        masks = np.int64(1) << rng.integers(0, 3, len(faces))
        collider = Collider(vertices[None], faces, masks)
        points = rng.normal(size=(60, 3))
        found = np.full(60, -1)
        collider.nearest(points, np.full(60, 0b101), 10.0, found)
        assert ((masks[found] & 0b101) != 0).all()
        import igl

        fits = np.flatnonzero(masks & 0b101)
        squared = igl.point_mesh_squared_distance(points, vertices, faces[fits])[0]
        mine = [
            igl.point_mesh_squared_distance(p[None], vertices, faces[t][None])[0][0]
            for p, t in zip(points, found, strict=True)
        ]
        np.testing.assert_allclose(mine, squared, rtol=1e-6, atol=1e-9)

    def test_facing_triangles_look_back(self):
        vertices, faces = sphere(1.0)
        collider = Collider(vertices[None], faces, np.ones(len(faces), np.int64))
        found = np.full(1, -1)
        collider.nearest_facing(np.array([[0.9, 0.1, 0.2]]), np.array([[1.0, 0.0, 0.0]]), 3.0, found)
        assert vertices[faces[found[0]]][:, 0].mean() < 0
        collider.nearest_facing(np.array([[0.9, 0.1, 0.2]]), np.array([[1.0, 0.0, 0.0]]), 0.3, found)
        assert found[0] == -1

    def test_a_sleeve_may_not_touch_the_chest(self):
        weights = np.zeros((3, BONES))
        weights[0, 16] = 1  # left upper arm
        weights[1, [1, 2]] = 0.5  # skirt between both legs
        weights[2, [0, 1]] = 0.5  # left side of the hip
        allowed = [{b for b in range(BONES) if mask >> b & 1} for mask in allowed_masks(weights)]
        assert allowed[0] == {13, 16, 18}
        assert {1, 2, 4, 5} <= allowed[1]
        assert 2 not in allowed[2]


class TestQuads:
    def test_catmull_clark_keeps_planes_and_boundaries(self):
        vertices, quads = grid(5, 1.0)
        step = catmull_clark(quads, len(vertices))
        fine = step.smooth @ vertices
        assert np.abs(fine[:, 1]).max() < 1e-12
        rim = fine[boundary_mask(step.quads, len(fine))]
        on_side = np.isclose(np.abs(rim[:, [0, 2]]).max(1), 0.5)
        assert (~on_side).sum() == 4  # the corners alone are rounded
        np.testing.assert_allclose(step.linear @ vertices, step.linear @ vertices.round(12), atol=1e-9)
        np.testing.assert_allclose(np.asarray(step.smooth.sum(1)), 1, atol=1e-12)

    def test_the_limit_of_a_cube(self):
        """The corner of a cube of half side 1 goes to (4/9 of face points + ...): 0.5 on each axis."""
        vertices, quads = cube()
        for _ in range(5):
            step = catmull_clark(quads, len(vertices))
            vertices, quads = step.smooth @ vertices, step.quads
        np.testing.assert_allclose(
            vertices[:8], vertices[:8, :1] * np.sign(vertices[:8]) * np.sign(vertices[:8, :1]), atol=1e-9
        )
        np.testing.assert_allclose(np.abs(vertices[:8]), 0.5, atol=2e-3)
        assert not boundary_mask(quads, len(vertices)).any()

    def test_loops_run_with_the_cloth_on_their_left(self):
        vertices, quads = tube(4, 12, 0.1, 0.3)
        loops = boundary_loops(quads)
        assert sorted(map(len, loops)) == [12, 12]
        directed = {tuple(e) for e in np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2)}
        assert all((a, b) in directed for loop in loops for a, b in zip(loop, np.roll(loop, -1), strict=True))
        normals = vertex_normals(vertices, triangulate(quads))
        np.testing.assert_allclose(normals[:, 1:], vertices[:, 1:] / 0.1, atol=0.05)

    def test_triples_run_straight_on(self):
        vertices, quads = grid(4, 3.0)
        triples = bend_triples(quads, len(vertices))
        middle = 0.5 * (vertices[triples[:, 0]] + vertices[triples[:, 2]])
        straight = np.isclose(middle, vertices[triples[:, 1]]).all(1)
        assert straight.sum() == 2 * 4 * 2
        assert (~straight).sum() == 4  # corners

    def test_the_laplacian_keeps_rims(self):
        vertices, quads = tube(5, 16, 0.1, 0.3)
        mean = laplacian(quads, len(vertices)) @ vertices
        rim = boundary_mask(quads, len(vertices))
        np.testing.assert_allclose(mean[rim, 0], vertices[rim, 0], atol=1e-12)


def test_more_gravity_hangs_no_longer():
    """Cloth is held up by its tethers, whatever its weight."""
    vertices, quads = grid(9, 0.4)
    pinned = np.isclose(vertices[:, 2], -0.2)
    reach = []
    for gravity in (5.0, 20.0):
        settings = DrapeSettings(
            levels=2, takes_over=(0.0, 0.6, 0.8), settle=(0, 0, 4), warm_up=0, dynamics=Dynamics(gravity=gravity)
        )
        hung = drape(sheet("curtain", vertices, quads, pinned), far_away(30), settings)
        reach.append(-hung.vertices[:, 1].min())
    assert 0.3 < reach[0] < 0.41
    assert reach[1] < 0.42
