"""Rasteriser against its reference and against geometry, pictures, ray marching, films."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gdna.errors import GdnaError
from gdna.extract.refine import extract_surface
from gdna.render import rasterize as rasterize_module
from gdna.render.camera import Orthographic
from gdna.render.march import march
from gdna.render.png import write_png
from gdna.render.rasterize import rasterize
from gdna.render.shade import normal_image, picture_normals, render_normals, render_pair, shaded_image
from gdna.render.video import contact_sheet, save_png, trim_pairs, write_video
from gdna.types import NormalMap, PosedMesh

SMALL = Orthographic(image_size=64)


def soup(count: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    """Triangles of all sizes and both windings, some out of the picture, some without area."""
    generator = torch.Generator().manual_seed(seed)
    middle = 2.5 * torch.rand(count, 1, 3, generator=generator) - torch.tensor([1.25, 1.55, 1.25])
    vertices = (middle + scale * torch.randn(count, 3, 3, generator=generator)).reshape(-1, 3)
    vertices[3:6] = vertices[3]
    return vertices, torch.arange(3 * count).view(-1, 3)


@pytest.fixture(scope="module")
def ball() -> PosedMesh:
    centre = torch.tensor([0.05, -0.25, 0.1])
    corner = torch.full((3,), 0.8)
    vertices, faces = extract_surface(lambda p: 0.6 - (p - centre).norm(dim=1), centre - corner, centre + corner, 64)
    return PosedMesh(vertices, faces, torch.nn.functional.normalize(vertices - centre, dim=1))


@pytest.mark.parametrize(("count", "scale"), [(2000, 0.02), (60, 0.5)])
@pytest.mark.parametrize("rows", [10_000, 4_000_000])
def test_fused_equals_reference_to_the_last_bit(count, scale, rows, monkeypatch):
    monkeypatch.setattr(rasterize_module, "ROWS_AT_ONCE", rows)  # in many runs and in one
    vertices, faces = soup(count, scale, seed=count)
    expected, found = (rasterize(vertices, faces, SMALL, backend) for backend in ("reference", "fused"))
    assert expected.mask.any()
    assert not expected.mask.all()
    assert torch.equal(expected.mask, found.mask)
    assert torch.equal(expected.face, found.face)
    assert torch.equal(expected.barycentric, found.barycentric)


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_pixels_see_the_nearest_face_that_covers_their_centre(backend):
    vertices, faces = soup(80, 0.3, seed=1)
    fragments = rasterize(vertices, faces, SMALL, backend)
    xy = SMALL.pixel_positions().double()
    a, b, c = vertices[faces].double().unbind(1)
    best = torch.full((64, 64), -torch.inf, dtype=torch.double)
    for i in range(len(faces)):
        frame = torch.stack([b[i] - a[i], c[i] - a[i]], 1)
        if torch.linalg.det(frame[:2]).abs() < 1e-9:
            continue
        st = (xy - a[i, :2]) @ torch.linalg.inv(frame[:2]).T
        covers = (st >= 0).all(-1) & (st.sum(-1) <= 1)
        best = torch.where(covers, best.maximum(a[i, 2] + st @ frame[2]), best)
    assert (torch.isfinite(best) == fragments.mask).float().mean() > 0.999  # float32 decides centres on an edge
    depth = fragments.interpolate(vertices, faces)
    both = torch.isfinite(best[fragments.mask])
    torch.testing.assert_close(depth[both, 2], best[fragments.mask][both].float(), atol=1e-4, rtol=0)
    torch.testing.assert_close(depth[:, :2], xy[fragments.mask].float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_no_cracks_and_lower_index_at_equal_depth(backend):
    camera = Orthographic(half_width=1.0, centre=(0.0, 0.0, 0.0), image_size=32)
    steps = torch.linspace(-1, 1, 33)  # vertices on pixel corners, edges through pixel centres
    grid = torch.cartesian_prod(steps, steps)
    plane = torch.cat([grid, torch.zeros(len(grid), 1)], 1)
    corner = (torch.arange(32)[:, None] * 33 + torch.arange(32)).flatten()
    faces = torch.cat([corner[:, None] + torch.tensor([0, 33, 34]), corner[:, None] + torch.tensor([0, 34, 1])])
    fragments = rasterize(plane, faces, camera, backend)
    assert fragments.mask.all()
    assert fragments.face.max() < len(corner)  # each centre lies on a diagonal, shared with a face of higher index
    torch.testing.assert_close(fragments.barycentric.sum(-1), torch.ones(32, 32))


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_an_empty_picture(backend):
    vertices, faces = soup(5, 0.01, seed=0)
    away = rasterize(vertices + 10, faces, SMALL, backend)
    nothing = rasterize(vertices, faces[:0], SMALL, backend)
    assert not away.mask.any()
    assert not nothing.mask.any()


def test_unknown_backend_is_refused(ball):
    with pytest.raises(GdnaError, match="unknown backend"):
        rasterize(ball.vertices, ball.faces, SMALL, "opengl")


def test_pixel_centres_are_where_the_original_has_them():
    camera = Orthographic()
    xy = camera.pixel_positions()
    torch.testing.assert_close(xy[0, 0], torch.tensor([-1 + 1 / 256, 0.7 - 1 / 256]))
    back = camera.to_pixels(torch.cat([xy, torch.full((256, 256, 1), 0.2)], -1))
    rows, columns = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    torch.testing.assert_close(back, torch.stack([columns, rows, torch.full((256, 256), 0.2)], -1), atol=1e-4, rtol=0)


def test_normal_map_of_a_ball(ball):
    normal_map = render_normals(ball, SMALL)
    offset = (SMALL.pixel_positions() - torch.tensor([0.05, -0.25])) / 0.6
    inside = 1 - offset.square().sum(-1)
    assert (normal_map.mask == (inside > 0)).float().mean() > 0.99
    clear = (inside > 0.1) & normal_map.mask
    expected = torch.cat([offset, inside.clamp_min(0).sqrt()[..., None]], -1)
    # a chord of one 3 cm cell lies 0.2 mm below the sphere, which moves the grazing normals most
    torch.testing.assert_close(normal_map.normals[clear], expected[clear], atol=0.01, rtol=0)
    assert not normal_map.normals[~normal_map.mask].any()


def test_normal_image_is_on_white_and_not_renormalised():
    normals = torch.zeros(2, 2, 3)
    normals[0, 0] = torch.tensor([0.0, 0.0, 0.8])
    mask = torch.tensor([[True, False], [False, False]])
    image = normal_image(NormalMap(normals, mask))
    assert image[0, 0].tolist() == [128, 128, 230]
    assert (image[1] == 255).all()
    small = normal_image(NormalMap(normals, mask), antialias=2)
    assert small.tolist() == [[[223, 223, 249]]]  # the mean of the four colours, white included


def test_normals_pictured_in_one_pass_equal_the_reference_to_the_last_bit(tmp_path):
    vertices, faces = soup(400, 0.15, seed=2)
    normals = 1.2 * torch.randn(len(vertices), 3, generator=torch.Generator().manual_seed(0))  # some beyond the colours
    mesh = PosedMesh(vertices, faces, normals)
    expected, found = (picture_normals(mesh, SMALL, backend) for backend in ("reference", "auto"))
    np.testing.assert_array_equal(expected, normal_image(render_normals(mesh, SMALL)))
    np.testing.assert_array_equal(found, expected)
    assert {0, 255} < set(found.ravel())
    write_png(tmp_path / "normals.png", found[:, :50])
    with Image.open(tmp_path / "normals.png") as image:
        assert (image.mode, image.size) == ("RGB", (50, 64))
        np.testing.assert_array_equal(np.asarray(image), found[:, :50])


def test_pair_is_shaded_and_normals_side_by_side(ball):
    pair = render_pair(ball, SMALL)
    shaded = shaded_image(ball, SMALL)
    assert pair.shape == (64, 128, 3)
    assert pair.dtype == np.uint8
    np.testing.assert_array_equal(pair[:, :64], shaded)
    np.testing.assert_array_equal(pair[:, 64:], normal_image(render_normals(ball, SMALL.supersampled(2)), 2))
    assert (shaded[0] == 255).all()
    light = shaded.astype(int).sum(-1)
    assert light[20, 22] > light[44, 44] > 60  # from above left, and no side is black


@pytest.mark.parametrize("steep", [1.0, 1000.0])
def test_march_finds_the_first_entry(steep):
    centres = torch.tensor([[0.1, 0.0, -0.2], [0.1, 0.0, 0.4]])

    def two_balls(points: Tensor) -> Tensor:
        distance = (0.25 - torch.cdist(points, centres)).amax(1)
        return torch.where(distance > -0.02, steep * distance, -1000.0)

    xy = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    origins = torch.cat([xy, torch.ones(500, 1)], 1)
    directions = torch.tensor([0.0, 0.0, -1.0]).expand_as(origins)
    depth, hit = march(two_balls, origins, directions)
    height = 0.25**2 - (xy - centres[0, :2]).square().sum(1)
    clear = height.abs() > 1e-3  # a ray that grazes passes between two samples
    assert torch.equal(hit[clear], height[clear] > 0)
    expected = 0.6 - height[hit].sqrt()
    torch.testing.assert_close(depth[hit], expected, atol=1e-4 if steep == 1 else 1e-3, rtol=0)
    assert (depth[~hit] == 2).all()


def test_march_from_inside_waits_for_the_next_entry_and_asks_no_further():
    asked = []

    def slabs(points: Tensor) -> Tensor:
        asked.append(len(points))
        return (12 * points[:, 0]).cos()

    origins = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    depth, hit = march(slabs, origins, directions)
    assert hit.tolist() == [True, False]
    assert float(depth[0]) == pytest.approx(1.5 * torch.pi / 12, abs=1e-5)
    assert sum(asked) <= 2 * 128 + 8


def test_video_has_the_frames_and_even_sides(tmp_path):
    import av

    frames = [np.full((45, 63, 3), 8 * i, np.uint8) for i in range(12)]
    path = tmp_path / "out" / "film.mp4"
    assert write_video(path, iter(frames), 29.97) == 12
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height, stream.pix_fmt) == ("h264", 64, 46, "yuv420p")
        assert float(stream.average_rate) == pytest.approx(29.97)
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(decoded) == 12
    assert abs(int(decoded[6][20, 20, 0]) - 48) <= 3


def test_video_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "film.mp4"
    with pytest.raises(GdnaError, match="no frames"):
        write_video(path, iter([]), 30.0)
    with pytest.raises(GdnaError, match="one size"):
        write_video(path, [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], 30.0)
    assert list(tmp_path.iterdir()) == []


def test_sheet_and_png(tmp_path):
    images = [np.full((20, 30, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2, pad=4)
    assert sheet.shape == (2 * 24 + 4, 2 * 34 + 4, 3)
    assert sheet[4 + 10, 4 + 15].tolist() == [10] * 3
    assert sheet[28 + 10, 4 + 15].tolist() == [30] * 3
    assert sheet[28 + 10, 38 + 15].tolist() == [255] * 3
    labelled = contact_sheet(images, columns=5, labels=["a", "b", "c"])
    assert (labelled.min(-1) < 200).sum() > 3 * 600
    with pytest.raises(GdnaError, match="labels"):
        contact_sheet(images, columns=2, labels=["a"])
    save_png(tmp_path / "sheet.png", sheet)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet)


def test_pairs_are_trimmed_to_what_is_drawn():
    image = np.full((40, 80, 3), 255, np.uint8)
    image[10:20, 15:25] = 0  # left half
    image[12:22, 50:60] = 90  # right half, columns 10 to 20 of it
    (trimmed,) = trim_pairs([image], margin=2)
    assert trimmed.shape == (22 - 10 + 4, 2 * (25 - 10 + 4), 3)
    assert (trimmed < 255).any(-1).sum() == 200
    blank = np.full((4, 8, 3), 255, np.uint8)
    assert trim_pairs([blank])[0] is blank
