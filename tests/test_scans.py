"""The pack of open scans: codec, files, split, verbs."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import igl
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from gdna.apps import cli
from gdna.body.open_body import open_body
from gdna.data.inside import inside
from gdna.data.scan import read_scan
from gdna.errors import GdnaError
from gdna.scans import location
from gdna.scans.build import build_pack, pack_scan
from gdna.scans.codec import QUANTUM, decode, decode_parameters, encode, reference
from gdna.scans.datasheet import fill, tables
from gdna.scans.location import find_pack
from gdna.scans.pack import ScanPack, open_pack, write_pack
from gdna.scans.split import held_out_people
from gdna.scans.statistics import measure, statistics
from gdna.scans.types import About, BodyParameters, PackedScan, Surface
from gdna.synthesize.scan_file import FILE_NAME
from gdna.types import BodyParams

ROUNDING = QUANTUM / 2 * np.sqrt(3)  # metres that a vertex may move: half a step along each axis
FLOAT = 1e-6  # metres, float32 at two metres with room
LABELS = ("body", "eyes", "jumper", "hat", "lining")


def person(index: int = 0, pose_index: int = 0, outfit: tuple[str, ...] = ("jumper", "hat")) -> PackedScan:
    """A body with its torso taken a little in, a folded closed jumper around it, and a hat; quick to make."""
    rng = np.random.default_rng([index, pose_index])
    model = open_body()
    betas = rng.normal(0, 0.7, model.num_betas).astype(np.float32)
    rotations = rng.normal(0, 0.1, (24, 3)).astype(np.float32)
    posed = model(BodyParams(torch.from_numpy(betas)[None], torch.from_numpy(rotations)[None], torch.zeros(1, 3)))
    skin, joints = posed.vertices[0].numpy().astype(np.float64), posed.joints[0].numpy()
    used, faces = np.unique(model.faces.numpy(), return_inverse=True)
    body = skin[used]
    chest = joints[6]
    covered = np.linalg.norm(body - chest, axis=1) < 0.12
    body[covered] = chest + 0.95 * (body[covered] - chest)
    ball = trimesh.creation.icosphere(subdivisions=5)
    direction = np.asarray(ball.vertices)
    folds = 1 + 0.02 * np.sin(60 * direction[:, 1:2])
    jumper = chest + folds * direction * [0.24, 0.3, 0.2]
    small = trimesh.creation.icosphere(subdivisions=3, radius=0.12)
    hat = np.asarray(small.vertices) + joints[15] + [0, 0.2, 0]
    parts = [(body, faces.reshape(-1, 3)), (jumper, np.asarray(ball.faces)), (hat, np.asarray(small.faces))]
    offsets = np.cumsum([0, *(len(v) for v, _ in parts)])
    labels = np.repeat(np.array([0, 2, 3], np.uint8), [len(f) for _, f in parts])
    labels[model.num_skin_faces : len(faces)] = 1
    labels[-20:] = 4
    vertices = np.concatenate([v for v, _ in parts]).astype(np.float32)
    mesh = np.concatenate([f + o for (_, f), o in zip(parts, offsets, strict=False)]).astype(np.int32)
    visible = ~np.isin(mesh, np.flatnonzero(covered)).any(1)
    name = f"{index:04d}" + (f"_pose{pose_index}" if pose_index else "")
    about = About(
        name, f"{index:04d}", pose_index, outfit, LABELS, 0, index, 3, {"age": 20 + index, "fabrics": ["wool"]}
    )
    return PackedScan(
        about,
        Surface(vertices, mesh, labels, visible),
        BodyParameters(betas, rotations, joints, np.zeros(3, np.float32)),
    )


@pytest.fixture(scope="module")
def scan() -> PackedScan:
    return person()


@pytest.fixture(scope="module")
def decoded(scan: PackedScan) -> tuple[Surface, BodyParameters]:
    return decode(encode(scan.surface, scan.body))


@pytest.fixture(scope="module")
def pack(scan: PackedScan, tmp_path_factory) -> ScanPack:
    """Two people, one of them in two poses, one held out."""
    packed = [pack_scan(s) for s in (scan, person(0, 1), person(1))]
    entries = [dataclasses.replace(p.entry, held_out=p.entry.about.person == "0001") for p in packed]
    return write_pack(tmp_path_factory.mktemp("pack") / "people.gdnapack", entries, [p.blob for p in packed])


def test_no_vertex_moves_by_more_than_the_rounding(scan: PackedScan, decoded) -> None:
    surface, _ = decoded
    squared = igl.point_mesh_squared_distance(
        scan.surface.vertices.astype(np.float64), surface.vertices.astype(np.float64), surface.faces.astype(np.int64)
    )[0]
    assert np.sqrt(squared.max()) <= ROUNDING + FLOAT
    assert len(surface.vertices) == len(scan.surface.vertices)


def test_bare_skin_is_exact(scan: PackedScan, decoded) -> None:
    """Where the model puts it, not where the lattice would."""
    skin = reference(scan.body)
    head = skin.vertices[np.unique(skin.faces)]
    head = head[head[:, 1] > scan.body.joints[15, 1]]
    squared = igl.point_mesh_squared_distance(
        head, decoded[0].vertices.astype(np.float64), decoded[0].faces.astype(np.int64)
    )[0]
    assert np.sqrt(squared.max()) < 1e-5  # metres; 0.1 of the generator's own rounding


def test_every_face_keeps_its_label_and_its_visibility(scan: PackedScan, decoded) -> None:
    before, after = scan.surface, decoded[0]
    masks = [(before.visible, after.visible)]
    masks += [(before.face_labels == k, after.face_labels == k) for k in range(len(LABELS))]
    for mask, kept in masks:
        assert 0 < mask.sum() == kept.sum()
        middle, moved = (s.vertices[s.faces[m]].mean((0, 1)) for s, m in ((before, mask), (after, kept)))
        np.testing.assert_allclose(moved, middle, atol=QUANTUM / 2)  # metres: a mean moves less than its points


def test_parameters_are_exact(scan: PackedScan, decoded) -> None:
    blob = encode(scan.surface, scan.body)
    for body in (decoded[1], decode_parameters(blob)):
        for field in dataclasses.fields(body):
            assert np.array_equal(getattr(body, field.name), getattr(scan.body, field.name))


def test_inside_and_outside_are_as_before(scan: PackedScan, decoded) -> None:
    surface = decoded[0]
    vertices, faces = scan.surface.vertices.astype(np.float64), scan.surface.faces.astype(np.int64)
    points = np.random.default_rng(0).uniform(vertices.min(0) - 0.02, vertices.max(0) + 0.02, (30_000, 3))
    away = igl.point_mesh_squared_distance(points, vertices, faces)[0] > 0.002**2
    assert away.mean() > 0.9
    before, after = (
        inside(v, f.astype(np.int64), points[away]) for v, f in ((vertices, faces), (surface.vertices, surface.faces))
    )
    assert 0.02 < before.mean() < 0.9
    assert (before != after).mean() < 1e-3


def test_the_same_scan_gives_the_same_bytes(scan: PackedScan) -> None:
    assert encode(scan.surface, scan.body) == encode(scan.surface, scan.body)


def test_coincident_vertices_stay_two(scan: PackedScan) -> None:
    """Solids that touch within a step would be opened by uniting their vertices."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.01)  # steps of 0.25 mm bring many vertices together
    vertices, faces = np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int32)
    surface = Surface(vertices, faces, np.zeros(len(faces), np.uint8), np.ones(len(faces), bool))
    coarse, _ = decode(encode(surface, scan.body, 4e-3), 4e-3)
    assert (len(coarse.vertices), len(coarse.faces)) == (len(vertices), len(faces))
    edges = np.concatenate([coarse.faces[:, [k, (k + 1) % 3]] for k in range(3)])
    assert Counter(map(tuple, edges.tolist())) == Counter(map(tuple, edges[:, ::-1].tolist()))


def test_a_scan_is_read_without_the_others(pack: ScanPack, scan: PackedScan) -> None:
    again = open_pack(pack.path)
    assert [e.name for e in again.entries] == ["0000", "0000_pose1", "0001"]
    assert [e.name for e in again.people()] == ["0000", "0001"]
    assert [e.name for e in again.people(held_out=True)] == ["0001"]
    entry = again.find("0000", pose=1)
    assert (entry.name, again.find("0000_pose1").name, entry.about.pose_index) == ("0000_pose1", "0000_pose1", 1)
    assert again.read(again.find("0000")).about == scan.about
    assert [s.about.name for s in again] == ["0000", "0000_pose1", "0001"]
    with pytest.raises(GdnaError, match=r"person=0000 pose=3; there are poses \[0, 1\]"):
        again.find("0000", pose=3)


def test_a_damaged_scan_is_named_and_the_others_are_read(pack: ScanPack, tmp_path: Path) -> None:
    whole = bytearray(pack.path.read_bytes())
    entry = pack.find("0000", pose=1)
    whole[entry.offset + entry.size // 2] ^= 1
    path = tmp_path / "damaged.gdnapack"
    path.write_bytes(whole)
    damaged = open_pack(path)
    damaged.read(damaged.find("0001"))
    with pytest.raises(GdnaError, match="scan 0000_pose1 is damaged"):
        damaged.read(damaged.find("0000_pose1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole[:-1], "get the pack again"),
        (lambda whole: whole[:100], "index is damaged or cut off"),
        (lambda whole: whole[:10], "no pack of scans"),
        (lambda whole: b"PK" + whole, "no pack of scans"),
        (lambda whole: whole[:8] + b"\x09" + whole[9:], "pack format 9"),
        (lambda whole: whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], "index is damaged"),
    ],
)
def test_what_is_no_pack_says_so(pack: ScanPack, tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "x.gdnapack"
    path.write_bytes(change(pack.path.read_bytes()))
    with pytest.raises(GdnaError, match=message):
        open_pack(path)


def test_bytes_that_do_not_fit_together_are_refused(scan: PackedScan, pack: ScanPack) -> None:
    blob = encode(scan.surface, scan.body)
    for broken in (blob[:-3], blob[:1000], b"", blob + b"\0\0\0\0"):
        with pytest.raises(ValueError, match=r"cut off|parts"):
            decode(broken)


def test_held_out_people_are_spread_over_outfits_whatever_their_order() -> None:
    outfits = {f"{i:04d}": (("skirt", "jumper") if i % 4 == 0 else ("jeans", f"top{i % 2}")) for i in range(400)}
    chosen = held_out_people(outfits)
    assert len(chosen) == 40
    assert chosen == held_out_people(dict(reversed(outfits.items())))
    worn = Counter(outfits[person] for person in chosen)
    everybody = Counter(outfits.values())
    assert all(abs(worn[outfit] - everybody[outfit] / 10) <= 1 for outfit in everybody)


def test_a_pack_is_built_from_folders_and_from_packs(scan: PackedScan, pack: ScanPack, tmp_path: Path) -> None:
    for one in (scan, person(0, 1), person(1)):
        save_as_synthesized(one, tmp_path / "scans" / one.about.name)
    whole = build_pack(tmp_path / "whole.gdnapack", [tmp_path / "scans"])
    assert [e.name for e in whole.entries] == ["0000", "0000_pose1", "0001"]
    assert run("scans", "pack", f"source=[{tmp_path}/scans]", f"out={tmp_path}/shared.gdnapack", "workers=2") == 0
    assert (tmp_path / "shared.gdnapack").read_bytes() == whole.path.read_bytes()
    assert {(e.about.generator_version, e.about.traits["pose"]) for e in whole.entries} == {(3, "standing")}
    parts = []
    for k, names in enumerate((["0001"], ["0000", "0000_pose1"])):
        for name in names:
            (tmp_path / f"part{k}").mkdir(exist_ok=True)
            (tmp_path / "scans" / name).rename(tmp_path / f"part{k}" / name)
        parts.append(build_pack(tmp_path / f"part{k}.gdnapack", [tmp_path / f"part{k}"]).path)
    assert build_pack(tmp_path / "merged.gdnapack", parts).path.read_bytes() == whole.path.read_bytes()
    with pytest.raises(GdnaError, match="two scans are named 0001"):
        build_pack(tmp_path / "twice.gdnapack", [parts[0], parts[0]])
    assert not (tmp_path / "twice.gdnapack").exists()


def save_as_synthesized(scan: PackedScan, folder: Path) -> None:
    """A scan's folder as the generator writes it."""
    about, surface, body = scan.about, scan.surface, scan.body
    words = {key: getattr(about, key) for key in ("name", "label_names", "garments", "seed", "index", "pose_index")}
    traits = {"age": 20.0, "gender": 0.5, "height": 1.7, "weight": 0.5, "muscle": 0.5, "proportions": 0.5,
              "pose": "standing", "fabrics": ["wool"], "redraws": 0, "stretch": 1.1, "outside": 0.0, "deepest": 0.0,
              "generator_version": 3}  # fmt: skip
    folder.mkdir(parents=True)
    np.savez(
        folder / FILE_NAME, vertices_quantised=np.round(surface.vertices / 5e-5).astype(np.int16), quantum=5e-5,
        faces=surface.faces, face_labels=surface.face_labels, visible=np.packbits(surface.visible), betas=body.betas,
        joint_rotations=body.joint_rotations, joints=body.joints, translation=np.zeros(3, np.float32),
        description=np.array(json.dumps({**words, "traits": traits})),
    )  # fmt: skip


def run(*command: object) -> int:
    return cli.main([str(word) for word in command])


def test_verify_prints_one_json_object(pack: ScanPack, capsys) -> None:
    assert run("scans", "verify", f"pack={pack.path}") == 0
    found = json.loads(capsys.readouterr().out)
    expected = {
        "people": 2,
        "held_out": 1,
        "extra_poses": 1,
        "garments": 2,
        "bytes": pack.path.stat().st_size,
        "bad": 0,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["wearers"] == {"hat": 2, "jumper": 2}


def test_verify_finds_what_is_bad(scan: PackedScan, pack: ScanPack, tmp_path: Path, capsys) -> None:
    """One scan of each: a hole, a label without faces, joints of another body, flipped bits, a split person."""
    surface, body = scan.surface, scan.body
    keep = np.arange(len(surface.faces)) != np.flatnonzero(surface.face_labels == 2)[50]
    holed = Surface(surface.vertices, surface.faces[keep], surface.face_labels[keep], surface.visible[keep])
    unlabelled = dataclasses.replace(surface, face_labels=np.where(surface.face_labels == 3, 2, surface.face_labels))
    moved = dataclasses.replace(body, joints=body.joints + np.float32(1e-3))
    scans = {
        "0000": scan,
        "0001": dataclasses.replace(scan, surface=holed),
        "0002": dataclasses.replace(scan, surface=unlabelled),
        "0003": dataclasses.replace(scan, body=moved),
        "0004": scan,
        "0000_pose1": dataclasses.replace(scan, about=dataclasses.replace(scan.about, pose_index=1)),
    }
    packed = []
    for name, one in scans.items():
        about = dataclasses.replace(one.about, name=name, person=name.split("_")[0])
        packed.append(pack_scan(dataclasses.replace(one, about=about)))
    entries = [dataclasses.replace(p.entry, held_out="pose1" in p.entry.name) for p in packed]
    blobs = [p.blob if p.entry.name != "0004" else p.blob[:-1] + bytes([p.blob[-1] ^ 1]) for p in packed]
    path = write_pack(tmp_path / "bad.gdnapack", entries, blobs).path
    assert run("scans", "verify", f"pack={path}") == cli.BAD_INPUT
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    faults = {fault.split(": ")[0]: fault for fault in found["faults"]}
    assert found["bad"] == 4
    assert "held_out=True" in faults["0000_pose1"]
    assert "3 open edges" in faults["0001"]
    assert "no face is labelled hat" in faults["0002"]
    assert "joints lie 1.7 mm" in faults["0003"]
    assert "scan 0004 is damaged" in found["faults"][-1]
    assert "4 of 6 scans are bad" in printed.err


def test_an_exported_scan_is_read_as_any_scan(pack: ScanPack, tmp_path: Path, capsys) -> None:
    assert run("scans", "export", f"pack={pack.path}", "held_out=0", f"out={tmp_path}") == 0
    assert run("scans", "export", f"pack={pack.path}", "person=0000", "pose=1", f"out={tmp_path}") == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / name) for name in ("0001.ply", "0001.npz", "0000_pose1.ply", "0000_pose1.npz")
    ]
    inner = pack.read(pack.find("0001")).to_scan()
    read = read_scan(tmp_path / "0001.ply")
    np.testing.assert_allclose(read.betas, inner.betas)
    np.testing.assert_allclose(read.joint_rotations, inner.joint_rotations)
    assert len(read.faces) == len(inner.faces)
    np.testing.assert_allclose(read.vertices.mean(0), inner.vertices.mean(0), atol=1e-4)  # metres; united vertices
    with np.load(tmp_path / "0001.npz", allow_pickle=False) as file:
        assert (len(file["face_labels"]), json.loads(str(file["about"]))["person"]) == (len(inner.faces), "0001")
    assert run("scans", "export", f"pack={pack.path}", "held_out=1", f"out={tmp_path}") == cli.BAD_INPUT
    assert run("scans", "export", f"pack={pack.path}", "held_out=0", "person=0000") == cli.BAD_INPUT


def test_preprocess_reads_the_pack(pack: ScanPack, tmp_path: Path, monkeypatch) -> None:
    """People, split and poses as asked; where the open scans' folder is missing, from the pack that is found."""
    monkeypatch.chdir(tmp_path)
    small = ("points=2000", "surface_points=1000", "views=1", "image_size=64")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/open_scans.gdnapack").write_bytes(pack.path.read_bytes())
    extra = ("datamodule.scans_path=data/open_scans.gdnapack", "datamodule.poses=extra")
    assert run("preprocess", *extra, "datamodule.dataset_path=extra", *small) == 0
    assert run("preprocess", "datamodule.split=held_out", "datamodule.dataset_path=held_out", *small) == 0
    prepared = {folder: sorted(p.parent.name for p in Path(folder).glob("*/*.safetensors")) for folder in
                ("extra", "held_out")}  # fmt: skip
    assert prepared == {"extra": ["0000_pose1"], "held_out": ["0001"]}
    assert run("preprocess", "datamodule.split=held_out", "datamodule.poses=extra", *small) == cli.BAD_INPUT


def test_the_pack_is_found_without_being_named(pack: ScanPack, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_pack("x.gdnapack") == Path("x.gdnapack")
    monkeypatch.setattr(location.resources, "files", lambda package: tmp_path / "package")
    with pytest.raises(GdnaError, match="no pack of open scans"):
        find_pack()
    for place in (tmp_path / "package/released", tmp_path / "data"):
        place.mkdir(parents=True)
        (place / location.FILE_NAME).write_bytes(b"")
        assert find_pack().resolve() == place / location.FILE_NAME


def test_sheets_show_everybody(pack: ScanPack, tmp_path: Path) -> None:
    size = ("image_size=96", "rows=1")
    assert run("scans", "sheet", f"pack={pack.path}", f"out={tmp_path}", *size) == 0
    assert sorted(p.name for p in tmp_path.glob("*.png")) == ["overview.png", "sheet_000.png", "sheet_001.png"]
    with Image.open(tmp_path / "people/0000.png") as image:
        pixels = np.asarray(image)
    shaded, normals = np.split(pixels, 2)
    assert np.ptp(shaded.astype(int), axis=-1).max() < 60  # clay is nearly grey, normals are not
    assert np.ptp(normals.astype(int), axis=-1).max() > 100
    blank = np.flatnonzero((shaded == 255).all((0, 2)))
    assert len(np.flatnonzero(np.diff(blank) > 1)) == 4  # four people side by side


def test_the_datasheet_is_filled_in(pack: ScanPack, tmp_path: Path) -> None:
    names = ("contents", "quality", "shape", "garments", "poses")
    page = tmp_path / "scans.md"
    page.write_text("# Title\n" + "".join(f"<!-- begin {n} -->\nold {n}\n<!-- end {n} -->\ntext\n" for n in names))
    command = ("scans", "datasheet", f"pack={pack.path}", f"out={page}", f"images={tmp_path}")
    assert run(*command) == 0
    text = page.read_text()
    assert "| people | 2 |" in text
    assert "| jumper | 2 |" in text
    assert "| age (trait) | 20 |" in text
    assert "| wool | 2 |" in text
    assert "old" not in text
    assert text.count("text\n") == len(names)
    assert run(*command) == 0
    assert page.read_text() == text
    for kind in ("shape", "garments", "poses"):
        assert (tmp_path / f"scans_{kind}.png").stat().st_size > 3000
    page.write_text("# Title\n")
    assert run(*command) == cli.BAD_INPUT


def test_the_shipped_datasheet_has_its_markers(pack: ScanPack, tmp_path: Path) -> None:
    page = tmp_path / "scans.md"
    page.write_text((Path(__file__).resolve().parents[1] / "docs/scans.md").read_text())
    fill(page, tables(pack, statistics(pack)))


def test_bodies_are_measured_in_metres_and_kilograms() -> None:
    model = open_body()
    height, weight = measure(model, np.zeros(model.num_betas, np.float32))
    assert 1.6 < height < 1.8
    assert 18 < weight / height**2 < 27  # body mass index of the mean adult
