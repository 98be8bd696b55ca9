"""Layers of a dressed person put in order: what lies under a garment is taken under it, and every layer is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from gdna.synthesize.accessories import Accessory
from gdna.synthesize.assemble import Part, covered_by, enclose, tuck_under, widened
from gdna.synthesize.closing import FrontEdges, Solid, close_sheet, fan_loops, open_loops
from gdna.synthesize.cloth import Draped
from gdna.synthesize.garments import Pattern
from gdna.synthesize.mannequin import ARM_JOINTS, limb_weights
from gdna.synthesize.quads import boundary_mask, triangulate, vertex_normals
from gdna.synthesize.stage import Stage
from gdna.synthesize.trims import front_strip, trims

FINE_ENOUGH = 3000  # faces of hair or a hat
SHRUNK = 0.0015  # metres by which subdivision draws a skull in
LID_DEPTH = 0.02  # metres under the skin where the lid over an open front runs


Headwear = tuple[str, Accessory]  # "hat" or "hair"


@dataclass(frozen=True)
class Worn:
    """A garment on its wearer."""

    pattern: Pattern
    draped: Draped


@dataclass(frozen=True)
class _Layer:
    """An open sheet over the skin."""

    vertices: Float[np.ndarray, "V 3"]  # posed
    start: Float[np.ndarray, "V 3"]  # start pose
    faces: Int[np.ndarray, "F 3"]
    rim: Bool[np.ndarray, " V"]

    def over(self, points: Float[np.ndarray, "P 3"], covered: Bool[np.ndarray, " P"]) -> Float[np.ndarray, "P 3"]:
        """`covered` points taken under this layer."""
        return tuck_under(points, covered, self.vertices, self.faces, self.rim)

    def around(self, stage: Stage, covered: Bool[np.ndarray, " C"]) -> _Layer:
        """This layer widened where covered skin comes through it."""
        faces = stage.body.skin_faces
        middles = stage.skin[faces[covered[faces].all(1)]].mean(1)
        points = np.concatenate([stage.skin[covered], middles])
        return replace(self, vertices=enclose(self.vertices, self.faces, points))


def dressed_parts(stage: Stage, worn: list[Worn], headwear: Sequence[Headwear], recess: float) -> list[Part]:
    """Closed parts of the person: body, eyes, shoes, garments from the inside out with their trims, hat and hair. Lids
    lie `recess` metres inside the hems."""
    body = stage.body
    arms = limb_weights(body.skin_weights, ARM_JOINTS)
    trunk = body.skin_faces[(arms[body.skin_faces] < 0.3).all(1)]
    bare = body.vertices[: len(stage.skin)]
    sheets = [_sheet(w) for w in worn]
    shoes = None if stage.shoes is None else _shoe_layer(stage)
    skin = stage.skin
    for k in reversed(range(len(worn))):
        cover = close_sheet(sheets[k].start, worn[k].draped.quads, recess, _front(worn[k].pattern, bare, trunk))
        covered = covered_by(cover, bare)
        if worn[k].pattern.front is None:
            sheets[k] = sheets[k].around(stage, covered)
        for j in range(k):
            sheets[j] = replace(
                sheets[j], vertices=sheets[k].over(sheets[j].vertices, covered_by(cover, sheets[j].start))
            )
        if shoes is not None:
            shoes = replace(shoes, vertices=sheets[k].over(shoes.vertices, covered_by(cover, shoes.start)))
        skin = sheets[k].over(skin, covered)
    garments = []
    for w, sheet in zip(worn, sheets, strict=True):
        solid = close_sheet(sheet.vertices, w.draped.quads, recess, _front(w.pattern, skin, trunk))
        label = w.pattern.garment.name
        garments.append(Part(label, solid))
        sewn = trims(w.pattern, replace(w.draped, vertices=sheet.vertices), stage.upward)
        garments += [Part(label, Solid(t.vertices, t.faces, np.zeros(len(t.faces), bool))) for t in sewn]
    return [*_bare_parts(stage, skin, shoes), *garments, *_headwear(stage, headwear)]


def _sheet(worn: Worn) -> _Layer:
    draped = front_strip(worn.pattern, worn.draped)
    rim = boundary_mask(draped.quads, len(draped.vertices))
    return _Layer(draped.vertices, draped.start_vertices, triangulate(draped.quads), rim)


def _shoe_layer(stage: Stage) -> _Layer:
    shoes = stage.shoes
    assert shoes is not None
    rim = np.zeros(len(shoes.vertices), bool)
    rim[np.concatenate(open_loops(shoes.faces))] = True
    faces = stage.body.skin_faces
    hidden = stage.skin[faces[shoes.hides[faces].all(1)]].mean(1)
    return _Layer(enclose(stage.wear(shoes), shoes.faces, hidden), stage.shoes_at_start, shoes.faces, rim)


def _bare_parts(stage: Stage, skin: Float[np.ndarray, "C 3"], shoes: _Layer | None) -> list[Part]:
    """Body, eyes, shoes."""
    faces = stage.body.skin_faces
    eyes = Solid(stage.eyes, stage.eye_faces, np.zeros(len(stage.eye_faces), bool))
    parts = [Part("body", _closed(skin, faces, None)), Part("eyes", eyes)]
    return parts if shoes is None else [*parts, Part("shoes", _closed(shoes.vertices, shoes.faces, None))]


def _front(pattern: Pattern, skin: Float[np.ndarray, "C 3"], faces: Int[np.ndarray, "F 3"]) -> FrontEdges | None:
    """The open front's edges, with the way into this body (without the arms)."""
    if pattern.front is None:
        return None
    normals = vertex_normals(skin, faces)

    def into_body(points: np.ndarray) -> np.ndarray:
        import igl

        _, face, nearest = igl.point_mesh_squared_distance(points, skin, faces)[:3]
        inward = normals[faces[face]].mean(1)
        return nearest - LID_DEPTH * inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-12)

    return FrontEdges(pattern.front, into_body)


def _headwear(stage: Stage, headwear: Sequence[Headwear]) -> list[Part]:
    """Hats and hair, outermost first: open ones are closed around the middle of the skull, hair lies under the hat."""
    parts: list[Part] = []
    for label, asset in headwear:
        vertices = stage.wear(asset)
        for over in (p.solid for p in parts):
            covered = widened(covered_by(over, vertices), asset.faces)
            no_rim = np.zeros(len(over.vertices), bool)
            vertices = tuck_under(vertices, covered, over.vertices, over.faces[~over.lining], no_rim)
        parts.append(Part(label, _closed(*_refined(vertices, asset.faces), stage.skull)))
    return parts


def _refined(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loop subdivision of meshes too coarse beside the rest, and what it shrinks given back."""
    import igl

    while len(faces) < FINE_ENOUGH:
        vertices, faces = igl.loop(vertices, faces)
        faces = faces.astype(np.int64)  # igl's is C's long long, another type to numpy
        vertices = vertices + SHRUNK * vertex_normals(vertices, faces)
    return vertices, faces


def _closed(vertices: np.ndarray, faces: np.ndarray, apex: np.ndarray | None) -> Solid:
    """The used vertices' mesh, its openings closed by fans."""
    used, local = np.unique(faces, return_inverse=True)
    points, closed = fan_loops(vertices[used], local.reshape(-1, 3), apex)
    return Solid(points, closed, np.arange(len(closed)) >= len(faces))
