"""Canonical meshes, and their frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from gdna.bench.floors import Work, of_point
from gdna.bench.row import Row
from gdna.bench.scene import Scene
from gdna.bench.timing import Task, seconds_of, task
from gdna.body.skeleton import blend_skinning
from gdna.data.motion import load_motion
from gdna.extract.avatar_mesh import body_box
from gdna.extract.lattice import coarsest
from gdna.extract.refine import START_CELLS, extract_surface_dense
from gdna.generate.animation import Animation
from gdna.generate.filming import film_camera
from gdna.generate.people import Person
from gdna.geometry.arithmetic import matmul_precision
from gdna.geometry.mesh import fuse_normals, largest_component, vertex_normals
from gdna.model.avatar_model import AvatarModel
from gdna.render.shade import render_pair
from gdna.types import AvatarMesh, BodyParams, PosedMesh, Subject

PROBE = 2**13  # points that the estimate asks
DENSE_AT_ONCE = 2**18


def mesh(scene: Scene, which: int) -> Row:
    """A person's canonical mesh with normals and skinning weights at its vertices."""
    resolution = scene.sizes.resolutions[which]
    person = scene.people.mean_person()
    surface = person.mesh(min(resolution, 64))
    vertices = len(surface.vertices) * (resolution / min(resolution, 64)) ** 2
    network = scene.network
    fields = of_point(network.warp, network.occupancy)
    floor = Work(
        vertices * (3 * fields + of_point(network.skinning, network.normal)),
        vertices * 4 * (3 + 3 + len(surface.parents)) + 2 * vertices * 24,
        "occupancy at the two corners that a vertex needs, all fields at the vertex; the mesh written once",
    )
    ours, reference = partial(person.mesh, resolution, "coarse"), partial(plain_mesh, person, resolution)
    return Row(task(ours), task(reference, partial(_dense_seconds, person, resolution)), floor)


@torch.no_grad()
def plain_mesh(person: Person, resolution: int) -> AvatarMesh:
    """The same mesh by asking a whole grid, in float32."""
    network, subject, skin, joints = _inputs(person)

    def query(points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        parts = (network.occupancy_canonical(p[None], subject)[0][0] for p in points.split(DENSE_AT_ONCE))
        return torch.cat(list(parts))

    with matmul_precision("highest"):
        vertices, faces = extract_surface_dense(query, *body_box(skin), resolution)
        kept, faces = largest_component(vertices, faces)
        vertices = vertices[kept]
        weights, normals = [], []
        for points in vertices.split(DENSE_AT_ONCE):
            neutral = network.to_neutral(points[None], subject.betas)
            weights.append(network.skin_weights(neutral, subject)[0])
            normals.append(network.normals_neutral(neutral, network.read_neutral(neutral, subject)[1], subject)[0])
    fused = fuse_normals(torch.cat(normals), vertex_normals(vertices, faces))
    return AvatarMesh(vertices, faces, fused, torch.cat(weights), joints, person.model.body.parents)


def _inputs(person: Person) -> tuple[AvatarModel, Subject, Float[Tensor, "Vs 3"], Float[Tensor, "J 3"]]:
    network, body = person.model.network, person.model.body
    rest = BodyParams(person.betas[None], person.betas.new_zeros(1, len(body.parents), 3), person.betas.new_zeros(1, 3))
    posed = body(rest)
    subject = network.subject(person.codes, person.betas[None])
    return network, subject, posed.vertices_canonical[0, person.model.skin], posed.joints_canonical[0]


@torch.no_grad()
def _dense_seconds(person: Person, resolution: int) -> float:
    network, subject, skin, _ = _inputs(person)
    lattice, halvings = coarsest(*body_box(skin), resolution, START_CELLS)
    total = math.prod(n * 2**halvings + 1 for n in lattice.cells)
    points = torch.rand(1, PROBE, 3, device=skin.device) - 0.5
    ask = partial(network.occupancy_canonical, points, subject)
    return min(seconds_of(ask, skin.device) for _ in range(2)) * total / PROBE


def animate(scene: Scene) -> Row:
    """A frame, posed and drawn: shaded with its normals beside it, each of image_size^2 pixels."""
    avatar = scene.people.mean_person().mesh(scene.sizes.animated)
    animation = avatar.animate(load_motion("walk"))[: scene.sizes.frames]
    camera = film_camera(scene.sizes.image_size)

    def ours() -> None:
        for posed in animation:
            render_pair(posed, camera)

    def reference() -> None:
        for posed in islice(plain_frames(animation), len(animation)):
            render_pair(posed, camera, backend="reference")

    count = len(avatar.vertices)
    floor = Work(
        24.0 * count * avatar.skin_weights.shape[1],
        4.0 * count * (avatar.skin_weights.shape[1] + 12) + 24 * len(avatar.faces) + 12 * (2 * camera.image_size) ** 2,
        "weights, vertices, normals and faces read, the drawn frame written",
    )
    share = 1 / len(animation)
    return Row(Task(((share, ours),)), Task(((share, reference),)), floor, note="a frame")


def plain_frames(animation: Animation) -> Iterator[PosedMesh]:
    """Each frame by the plain formulas: vertices by blended transforms, normals by their inverse transpose."""
    avatar = animation.avatar
    for transforms in animation.bone_transforms:
        vertices = blend_skinning(avatar.vertices[None], avatar.skin_weights, transforms[None])[0]
        blended = torch.einsum("vj,jab->vab", avatar.skin_weights, transforms[:, :3, :3])
        still = avatar.normals if avatar.normals_in is None else avatar.normals_in(transforms[None])[0]
        normals = (torch.linalg.inv(blended).mT @ still[..., None])[..., 0]
        yield PosedMesh(vertices, avatar.faces, torch.nn.functional.normalize(normals, dim=-1))
