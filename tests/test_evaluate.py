"""Each measure against a case whose answer is known."""

from __future__ import annotations

import math
import pickle
import sys
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from gdna.data.inside import components, inside_reference
from gdna.errors import GdnaError
from gdna.evaluate.distribution import (
    compare,
    frechet_distance,
    kernel_distance,
    mean_pairwise_distance,
    nearest,
    precision_recall,
)
from gdna.evaluate.efficientnet import SameConv, efficientnet_lite0
from gdna.evaluate.features import FeatureNetwork, extract_features, feature_network
from gdna.evaluate.health import check_person, check_surface, enclosed_by, part_volumes, raw_surface
from gdna.evaluate.inception import InceptionV3, inception_v3, resize_as_tensorflow
from gdna.evaluate.maps import angles_between, decode, silhouette_shift
from gdna.evaluate.skinning import mean_over_bones, weight_error
from gdna.evaluate.surface import Surface, nearest_points, outer_surface, surface_distance
from gdna.evaluate.variety import FOLD_BAND, fold_band, folds_replaced
from gdna.evaluate.weights import read_torch_weights
from gdna.extract.refine import extract_surface
from gdna.generate.loading import load
from gdna.geometry.mesh import genus, vertex_normals
from gdna.geometry.rotations import rotation_y
from gdna.render.shade import normal_image
from gdna.types import AvatarMesh, NormalMap


def picture(size: int) -> torch.Tensor:
    """A pattern without symmetry, bytes as floats."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([(x * 3 + y) % 256, (x * y // 7) % 256, ((x - y).abs() * 5) % 256])[None].float()


def surface(mesh: trimesh.Trimesh) -> Surface:
    return Surface(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))


def united(*surfaces: Surface) -> Surface:
    starts = np.cumsum([0, *(len(s.vertices) for s in surfaces[:-1])])
    faces = [s.faces + start for s, start in zip(surfaces, starts, strict=True)]
    return Surface(np.concatenate([s.vertices for s in surfaces]), np.concatenate(faces))


def moved(s: Surface, x: float, y: float, z: float) -> Surface:
    return replace(s, vertices=s.vertices + np.array([x, y, z]))


def ball(radius: float, subdivisions: int = 4) -> Surface:
    return surface(trimesh.creation.icosphere(subdivisions, radius))


def plane(width: float = 1.0, cells: int = 1) -> Surface:
    """In x and z, looking up."""
    x, z = np.meshgrid(np.linspace(0, width, cells + 1), np.linspace(0, 1, cells + 1), indexing="ij")
    corner = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b, c, d = corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]
    faces = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    return Surface(np.stack([x.ravel(), 0 * x.ravel(), z.ravel()], 1), faces)


# --- weights and networks


def save_old(path, state) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def test_old_torch_files_are_read_exactly(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(
        whole=whole, part=whole[1:3, ::2], turned=whole.T, half=torch.tensor([0.5, -2.0]).half(), count=torch.tensor(7)
    )
    save_old(tmp_path / "weights.pth", state)
    read = read_torch_weights(tmp_path / "weights.pth")
    assert list(read) == list(state)
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor), name


class Mischief:
    def __reduce__(self):
        return sys.exit, ("executed",)


def test_a_file_that_would_run_something_is_refused(tmp_path):
    save_old(tmp_path / "weights.pth", OrderedDict(weight=Mischief()))
    with pytest.raises(GdnaError, match="weight is no tensor"):
        read_torch_weights(tmp_path / "weights.pth")
    (tmp_path / "other.pth").write_bytes(pickle.dumps(3))
    with pytest.raises(GdnaError, match="not a readable checkpoint"):
        read_torch_weights(tmp_path / "other.pth")


def test_a_cut_file_is_refused(tmp_path):
    save_old(tmp_path / "weights.pth", OrderedDict(weight=torch.ones(1000)))
    content = (tmp_path / "weights.pth").read_bytes()
    (tmp_path / "weights.pth").write_bytes(content[:-100])
    with pytest.raises(GdnaError, match="damaged"):
        read_torch_weights(tmp_path / "weights.pth")


def test_efficientnet_answers_as_the_network_its_weights_come_from():
    """Numbers of the package efficientnet-lite-pytorch 0.1.0 on the same picture."""
    network = efficientnet_lite0()
    features, logits = network(picture(224))[0], network.classes(picture(224))[0]
    expected = [0, 0, 0, 0.27996206, 0, 0.40288687, 0, 0]
    assert features[::160].tolist() == pytest.approx(expected, abs=1e-4)  # single precision through 50 layers
    assert float(features.sum()) == pytest.approx(193.75168, rel=1e-4)
    assert logits.topk(3).indices.tolist() == [506, 417, 701]
    assert logits.topk(3).values.tolist() == pytest.approx([6.8041, 5.9119, 5.3753], abs=1e-3)


def test_padding_as_tensorflow_has_it():
    """Stride 2 on an even size: one zero right and below, so that the first output looks at pixels 0, 1, 2."""
    conv = SameConv(1, 1, 3, stride=2)
    torch.nn.init.ones_(conv.weight)
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1
    assert conv(image)[0, 0].tolist() == [[1, 0], [0, 0]]
    assert conv(image.flip(2, 3))[0, 0].tolist() == [[0, 0], [0, 1]]


def waves(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights that any implementation can be given."""
    state = {}
    for name, tensor in network.state_dict().items():
        angle = torch.arange(tensor.numel(), dtype=torch.float64) * 1.7 + len(name)
        wave = angle.sin().view(tensor.shape).float()
        if name.endswith("num_batches_tracked"):
            state[name] = tensor
        elif name.endswith("running_var"):
            state[name] = 1 + 0.5 * wave
        elif tensor.ndim == 1:
            state[name] = 1 + 0.3 * wave if name.endswith("bn.weight") else 0.1 * wave
        else:
            state[name] = wave * math.sqrt(3 / tensor[0].numel())
    return state


def test_inception_answers_as_torch_fidelity(tmp_path):
    """Numbers of torch-fidelity 0.4.0 with the same made-up weights on the same picture, resizing included."""
    from safetensors.torch import save_file

    save_file(waves(InceptionV3()), tmp_path / "inception.safetensors")
    network = inception_v3(tmp_path / "inception.safetensors")
    features = network(picture(256))[0]
    expected = [0.99225044, 0.92583561, 0.02350144, 0.0, 0.03249515, 0.0, 0.12556157, 0.00808929]
    assert features[::256].tolist() == pytest.approx(expected, abs=1e-5)
    assert float(features.sum()) == pytest.approx(283.24493, rel=1e-5)
    assert feature_network(tmp_path / "inception.safetensors").frechet_name == "FID (Inception v3)"


def test_inception_of_another_network_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(GdnaError, match="not Inception v3"):
        inception_v3(tmp_path / "other.safetensors")
    with pytest.raises(GdnaError, match="no such file"):
        inception_v3(tmp_path / "missing.safetensors")


def test_resizing_without_half_pixels():
    ramp = torch.arange(8.0).expand(1, 1, 5, 8)
    wide = resize_as_tensorflow(ramp, 16)[0, 0]
    assert torch.allclose(wide[3, :15], torch.arange(15) / 2)  # pixel n at n * 8 / 16
    assert float(wide[3, 15]) == 7  # nothing lies beyond the last


class MeanColour(torch.nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


def test_any_network_gives_features():
    images = [np.full((4, 4, 3), value, np.uint8) for value in range(40)]
    features = extract_features(images, FeatureNetwork("colour", MeanColour()))
    assert torch.equal(features, torch.arange(40.0).double()[:, None].expand(-1, 3))
    assert FeatureNetwork("colour", MeanColour()).frechet_name == "Frechet distance (colour)"
    with pytest.raises(GdnaError, match="no image"):
        extract_features([], FeatureNetwork("colour", MeanColour()))
    with pytest.raises(GdnaError, match="expected"):
        extract_features(images, FeatureNetwork("whole", torch.nn.Identity()))


# --- distributions


def gaussian(covariance, mean=(0.0, 0.0)) -> torch.Tensor:
    """Few points of exactly this mean and (unbiased) covariance."""
    root = torch.linalg.cholesky(torch.tensor(covariance, dtype=torch.float64))
    count = 2 * len(root)
    axes = torch.cat([root.T, -root.T]) * math.sqrt((count - 1) / 2)
    return axes + torch.tensor(mean, dtype=torch.float64)


def test_frechet_distance_of_known_gaussians():
    one, shifted = gaussian([[4.0, 0], [0, 9]]), gaussian([[1.0, 0], [0, 25]], (3.0, 4.0))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(one, shifted) == pytest.approx(25 + (2 - 1) ** 2 + (3 - 5) ** 2, abs=1e-9)


def test_frechet_distance_where_covariances_do_not_commute():
    s, t = np.array([[4.0, 1], [1, 2]]), np.array([[1.0, -0.8], [-0.8, 3]])
    product = s @ t  # a root of a 2 x 2 matrix has the trace sqrt(tr + 2 sqrt(det))
    expected = np.trace(s) + np.trace(t) - 2 * math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    assert frechet_distance(gaussian(s), gaussian(t)) == pytest.approx(expected, abs=1e-9)


def test_frechet_distance_with_fewer_images_than_features():
    """Twenty numbers of which two vary: the same as the two alone."""
    one, other = gaussian([[4.0, 1], [1, 2]]), gaussian([[1.0, -0.8], [-0.8, 3]], (1.0, 2.0))
    turn = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0)).double())[0][:2]
    assert frechet_distance(one @ turn, other @ turn) == pytest.approx(frechet_distance(one, other), abs=1e-9)
    with pytest.raises(GdnaError, match="2 or more"):
        frechet_distance(one[:1], other)


def test_kernel_distance_of_two_places():
    """All of one set here, all of the other there: k(u, u) + k(v, v) - 2 k(u, v)."""
    u, v = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])

    def kernel(a, b):
        return (float(a @ b) / 2 + 1) ** 3

    found = kernel_distance(u.expand(5, 2), v.expand(7, 2))
    assert found == pytest.approx(kernel(u, u) + kernel(v, v) - 2 * kernel(u, v), rel=1e-12)


def test_kernel_distance_has_no_bias():
    """The mean over many pairs of small sets of one distribution is zero within its error."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(200, 2, 10, 4, generator=generator).double()
    found = torch.tensor([kernel_distance(one, other) for one, other in draws])
    assert abs(float(found.mean())) < 3 * float(found.std()) / math.sqrt(200)
    assert float(found.std()) > 0.05


def cluster(centre: float, count: int, seed: int) -> torch.Tensor:
    noise = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)).double()
    return noise + torch.tensor([centre, 0.0])


def test_precision_and_recall_of_clusters():
    here, there = cluster(0, 40, 0), cluster(100, 40, 1)
    one_kind, both = cluster(0, 40, 2), torch.cat([cluster(0, 40, 3), cluster(100, 40, 4)])
    real = torch.cat([here, there])
    precision, recall = precision_recall(one_kind, real)
    assert precision > 0.9  # believable, but for some at the cluster's edge
    assert 0.4 < recall <= 0.5  # half of the kinds is missing
    assert min(precision_recall(both, real)) > 0.85
    assert precision_recall(cluster(50, 40, 5), real) == (0, 0)


def test_views_of_one_person_are_no_neighbours():
    """Each person's views lie together, far from the next person's: among other people only, balls reach further."""
    offsets = torch.tensor([[0.0, 0], [0.01, 0], [0, 0.01], [0.01, 0.01]]).double()
    real = torch.cat([offsets + torch.tensor([float(n), 0.0]) for n in range(6)])
    generated = torch.cat([offsets + torch.tensor([n + 0.5, 0.0]) for n in range(6)])
    person = torch.arange(6).repeat_interleave(4)
    assert precision_recall(generated, real) == (0, 0)
    assert precision_recall(generated, real, person, person) == (1, 1)
    assert compare(generated, real, person, person).recall == 1
    with pytest.raises(GdnaError, match="more people"):
        precision_recall(generated, real[:4], person, person[:4])


def test_nearest_and_mean_distance():
    points = torch.tensor([[0.0], [1.0], [5.0]])
    assert nearest(torch.tensor([[4.0], [0.2]]), points, 2).tolist() == [[2, 1], [0, 1]]
    assert mean_pairwise_distance(points) == pytest.approx((1 + 5 + 4) / 3)


# --- surfaces


@pytest.mark.parametrize(("gap", "f_score"), [(0.005, 1.0), (0.02, 0.0)])
def test_parallel_planes(gap, f_score):
    found = surface_distance(moved(plane(), 0, gap, 0), plane(), 2000)
    assert found.chamfer_mm == pytest.approx(1000 * gap, rel=1e-6)
    assert found.pred_to_scan_mm == pytest.approx(found.scan_to_pred_mm, rel=1e-6)
    assert found.normal_consistency == pytest.approx(1)
    assert found.f_score_1cm == f_score


def test_concentric_spheres():
    """5 mm apart; an icosphere of 5120 faces lies at most 0.2 % of its radius inside its sphere."""
    found = surface_distance(ball(0.505), ball(0.5), 5000)
    assert found.chamfer_mm == pytest.approx(5, abs=1)
    assert found.normal_consistency > 0.999
    assert found.f_score_1cm == 1


def test_half_a_plane_is_precise_but_lacks_recall():
    """All of the half lies on the whole; of the whole, half and the next centimetre lies near: F = 2 p r / (p + r)."""
    found = surface_distance(plane(0.5), plane(1.0), 20000)
    assert found.f_score_1cm == pytest.approx(2 * 0.51 / 1.51, abs=0.01)  # 20,000 points: 0.4 % standard error
    assert found.pred_to_scan_mm == pytest.approx(0, abs=1e-6)
    assert found.scan_to_pred_mm == pytest.approx(125, rel=0.03)  # mean of max(x - 0.5, 0)


def test_distances_are_to_triangles_not_to_their_corners():
    squared, face, point = nearest_points(np.array([[0.4, 0.3, 0.5]]), plane())
    assert squared.tolist() == pytest.approx([0.09])
    assert face.shape == (1,)
    assert point[0].tolist() == pytest.approx([0.4, 0, 0.5])


def test_the_outer_surface_leaves_hidden_layers_out():
    inside_out = ball(0.5)
    inside_out = replace(inside_out, faces=inside_out.faces[:, ::-1])
    found = outer_surface(united(ball(0.4, 3), inside_out))
    assert len(found.faces) == len(inside_out.faces)
    assert found.faces.min() >= len(ball(0.4, 3).vertices)
    assert volume(found) > 0  # turned outward


def test_a_surface_without_faces_is_refused():
    with pytest.raises(GdnaError, match="without faces"):
        surface_distance(Surface(np.zeros((3, 3)), np.zeros((0, 3), np.int64)), plane(), 100)


# --- health


JOINTS, PARENTS = np.array([[0, 0, 0], [0, 0.4, 0], [0.3, 0, 0], [2.0, 0, 0]], np.float32), (-1, 0, 0, 0)
NAMES = ("root", "up", "side", "far")


def volume(one: Surface) -> float:
    return float(part_volumes(one, [np.arange(len(one.faces))])[0])


def health_of(*surfaces: Surface):
    return check_surface(united(*surfaces), JOINTS, PARENTS, NAMES)


def test_a_ball_is_whole_but_for_the_far_bone():
    found = health_of(ball(0.5))
    assert (found.floaters, found.cavities, found.handles) == (0, 0, 0)
    assert found.missing_bones == ("far",)  # a quarter of it lies inside
    assert found.broken


def test_floaters_bubbles_and_handles():
    ring = surface(trimesh.creation.torus(0.5, 0.2))
    crumb, bubble = moved(ball(0.05, 2), 3, 0, 0), ball(0.1, 2)
    bubble = replace(bubble, faces=bubble.faces[:, ::-1])
    found = health_of(ball(1.0), crumb, crumb, moved(bubble, 0, 0.5, 0))
    assert found.floaters == 2
    assert found.floater_cm3 == pytest.approx(2e6 * volume(crumb), rel=1e-6)
    assert (found.large_floaters, found.cavities) == (2, 1)
    assert health_of(ring).handles == 1
    assert genus(torch.from_numpy(ball(1).faces)) == 0
    whole = check_surface(ball(1.0), JOINTS[:3], PARENTS[:3], NAMES[:3])
    assert not whole.broken
    assert whole.missing_bones == ()


def test_genus_and_inside_as_counted_plainly():
    """Of rough closed surfaces as marching cubes make them: every edge counted, every point by winding numbers."""
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(40, 4, generator=generator)

    def query(points):
        return (
            0.4 - points.norm(dim=1) + 0.12 * torch.sin(6 * points @ coefficients[:, :3].T + coefficients[:, 3]).sum(1)
        )

    vertices, faces = (a.numpy() for a in extract_surface(query, -torch.ones(3), torch.ones(3), 32))
    parts = components(faces, len(vertices))
    main = faces[max(parts, key=len)].astype(np.int64)
    edges = np.unique(np.sort(main[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0)
    assert genus(torch.from_numpy(main)) == (2 - (len(np.unique(main)) - len(edges) + len(main))) // 2 > 2
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    found = enclosed_by(Surface(vertices, main), points)
    assert 20 < found.sum() < 480
    np.testing.assert_array_equal(found, inside_reference(vertices, main, points))


def test_nobody_there():
    found = check_surface(Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), JOINTS, PARENTS, NAMES)
    assert found.missing_bones == NAMES[1:]


# --- maps, folds, weights


def normal_map(normal, mask) -> NormalMap:
    normals = torch.tensor(normal) * torch.ones(*mask.shape, 1)
    return NormalMap(torch.where(mask[..., None], normals, 0.0), mask)


def test_images_and_normals():
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[1:4, 2:5] = True
    there = normal_map([0.6, 0.0, 0.8], mask)
    back = decode(normal_image(there))
    assert torch.equal(back.mask, mask)
    torch.testing.assert_close(back.normals, there.normals, atol=1.01 / 255, rtol=0)  # half a byte's step, 2 / 255
    turned = NormalMap(there.normals @ rotation_y(math.radians(25.0)).T, mask)
    assert angles_between(there, turned).tolist() == pytest.approx([25.0] * 9, abs=1e-3)
    assert len(angles_between(there, normal_map([0.0, 0, 1], ~mask))) == 0


def test_an_outline_that_moves_three_pixels():
    y, x = torch.meshgrid(torch.arange(128) - 63.5, torch.arange(128) - 63.5, indexing="ij")
    small, large = (x**2 + y**2 < 40**2), (x**2 + y**2 < 43**2)
    assert silhouette_shift(small, small) == 0
    assert silhouette_shift(small, large) == pytest.approx(3, rel=0.06)  # measured along the smaller outline


def waves_on_a_plane(length: float) -> AvatarMesh:
    """A plane of a metre with shallow waves."""
    sheet = plane(1.0, 120)
    vertices = torch.from_numpy(sheet.vertices).float()
    vertices[:, 1] = 0.02 * length * torch.sin(vertices[:, 0] * 2 * math.pi / length)
    faces = torch.from_numpy(sheet.faces)
    normals = vertex_normals(vertices, faces)
    return AvatarMesh(vertices, faces, normals, torch.ones(len(vertices), 1), torch.zeros(1, 3), (-1,))


@pytest.mark.parametrize("length", [0.06, 0.6])
def test_folds_are_a_band_of_the_normals(length):
    """A Gaussian leaves exp(-(2 pi sigma / length)^2 / 2) of a wave: the band holds the difference of the two."""
    mesh, inner = waves_on_a_plane(length), slice(20 * 121, -20 * 121)  # 16 cm from the edges
    fine, coarse = (math.exp(-((2 * math.pi * sigma / length) ** 2) / 2) for sigma in FOLD_BAND)
    normals = mesh.normals.numpy().astype(np.float64)
    folds = fold_band(mesh, normals)[inner, 0].std() / normals[inner, 0].std()
    assert folds == pytest.approx(fine - coarse, abs=0.12)  # steps of 8 mm are no exact Gaussian


def test_skinning_weights_on_the_wrong_bone():
    """Half of the weight on a bone that moves 10 cm: 5 cm off."""
    transforms = torch.eye(4).repeat(2, 1, 1)
    transforms[1, 0, 3] = 0.1
    exact, learned = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    wrong, distance = weight_error(learned, exact, torch.rand(1, 3), transforms)
    assert wrong.tolist() == [0.5]
    assert distance.tolist() == pytest.approx([0.05])
    assert mean_over_bones(torch.tensor([1.0, 3.0, 10.0]), torch.tensor([0, 0, 2])) == 6


def test_a_drawn_person_through_every_step():
    """Of the shipped model, small: folds are the same whatever cells a surface was cut into, another person's are not;
    all parts of the surface are counted."""
    one, other = load(device="cpu").sample(2, 0)
    mesh = one.mesh(128, "coarse")  # cells of 14 mm; coarser ones cut a rough surface into other folds
    assert folds_replaced(one, mesh, one, mesh) == pytest.approx(0, abs=1e-6)
    same, strange = one.mesh(144, "coarse"), other.mesh(128, "coarse")
    assert folds_replaced(one, mesh, one, same) < 0.6 * folds_replaced(one, mesh, other, strange)
    whole, joints = raw_surface(one, 48)
    found = check_surface(whole, joints, one.model.body.parents)
    checked = check_person(one, 48)
    assert (found, 0) == (checked.field, checked.drawn_again)
    assert found.floaters + found.cavities == len(components(whole.faces, len(whole.vertices))) - 1
    assert "spine2" not in found.missing_bones
    kept = one.mesh(48, "coarse")  # what is generated is the part that was looked at
    assert len(kept.faces) == max(len(part) for part in components(whole.faces, len(whole.vertices)))
    assert genus(kept.faces) == found.handles
    assert (checked.generated.handles, checked.generated.floaters, checked.generated.cavities) == (found.handles, 0, 0)
