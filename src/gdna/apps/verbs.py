"""What the command line can do. A verb's module is imported only when it runs."""

from __future__ import annotations

from dataclasses import dataclass

from gdna.apps import config, config_fit, config_scans


@dataclass(frozen=True)
class Verb:
    """`module` has `run(settings) -> None`; `kept` says after an interruption what is there and how to go on. The name
    is one word, or a family's and an action's."""

    name: str
    summary: str
    settings: type
    module: str
    examples: tuple[str, ...]
    kept: str
    groups: tuple[str, ...] = ()
    renames_jobs: bool = False  # each job of a sweep gets an expname of its own
    positional: str | None = None  # the key that an argument without "=" gives

    @property
    def config_name(self) -> str:
        """The name as Hydra's files may have it."""
        return self.name.replace(" ", "_")


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "synthesize",
            "make open scans: dressed people with the body underneath",
            config.Synthesize,
            "gdna.apps.synthesize",
            (
                "synthesize count=8 seed=0 out=data/open_scans",
                "synthesize count=200 tot=4 id=0 workers=2",
            ),
            "finished scans are kept; the same command makes the others",
        ),
        Verb(
            "preprocess",
            "turn scans into training samples",
            config.Preprocess,
            "gdna.apps.preprocess",
            (
                "preprocess datamodule=open",
                "preprocess datamodule=thuman tot=4 id=0",
            ),
            "finished scans are kept; the same command prepares the others",
            ("datamodule",),
        ),
        Verb(
            "train",
            "train the coarse or the fine stage; goes on from its last checkpoint by itself",
            config.Train,
            "gdna.apps.train",
            (
                "train expname=coarse datamodule=open",
                "train expname=fine datamodule=open +experiments=fine model.norm_network.multires=6",
            ),
            "the last checkpoint is kept; the same command goes on from there",
            ("datamodule", "experiments"),
            renames_jobs=True,
        ),
        Verb(
            "precompute",
            "store 2D-3D correspondences of a coarse model for the fine stage",
            config.Precompute,
            "gdna.apps.precompute",
            ("precompute expname=coarse datamodule=open agent_tot=1 agent_id=0",),
            "finished scans are kept; the same command computes the others",
            ("datamodule", "experiments"),
        ),
        Verb(
            "import-checkpoint",
            "take over a model of the original code",
            config.ImportCheckpoint,
            "gdna.apps.import_checkpoint",
            (
                "import-checkpoint outputs/renderpeople/checkpoints/last.ckpt",
                "import-checkpoint thuman.ckpt out=outputs/thuman data_list=lib/dataset/thuman.csv",
            ),
            "no unfinished file is left behind",
            positional="path",
        ),
        Verb(
            "evaluate",
            "measure a model: generated people, reconstruction, new poses, variety, health; JSON and a page",
            config.Evaluate,
            "gdna.apps.evaluate",
            (
                "evaluate held_out=data/open_processed_held_out poses=data/open_processed_poses",
                "evaluate expname=fine datamodule=open held_out=data/open_processed_poses parts=[scans,skinning]",
                "evaluate expname=fine parts=[health] samples=500",
            ),
            "nothing was written",
            ("datamodule",),
        ),
        Verb(
            "generate",
            "make people and films of them, with the shipped model or your own",
            config.Generate,
            "gdna.apps.generate",
            (
                "generate eval_mode=interp",
                "generate eval_mode=sample seed=1 frames=16 save=[glb,npz]",
                "generate expname=fine +experiments=fine datamodule=open eval_mode=z_shape",
                "generate eval_mode=thetas motion=walk load=outputs/open/videos/sample_seed1/person_000.npz",
            ),
            "no unfinished film is left behind",
            ("datamodule", "experiments"),
        ),
        Verb(
            "fit",
            "turn raw scans into avatars that move: codes, pose, rigged mesh, a report with its errors",
            config_fit.Fit,
            "gdna.apps.fit",
            (
                "fit scan.ply body=params.npz out=outputs/fit/scan",
                "fit scan.obj refine=true residual=true preview=5",
                "fit data/my_scans body=data/my_bodies out=outputs/fit tot=4 id=0",
            ),
            "finished scans are kept; the same command fits the others",
            ("datamodule",),
            positional="scan",
        ),
        Verb(
            "bench",
            "time the work of training and generation here, against plain references",
            config.Bench,
            "gdna.apps.bench",
            (
                "bench out=bench.json",
                "bench rows=[mesh_256,animate] threads=2 seconds=20",
            ),
            "the rows that were done are in the file",
        ),
        Verb(
            "scans verify",
            "check every checksum and label of the pack of open scans; prints one JSON object",
            config_scans.ScansVerify,
            "gdna.apps.scans.verify",
            ("scans verify", "scans verify pack=data/open_scans.gdnapack"),
            "nothing was written",
        ),
        Verb(
            "scans export",
            "write one scan of the pack as PLY beside the npz of its body parameters",
            config_scans.ScansExport,
            "gdna.apps.scans.export",
            (
                "scans export held_out=0 out=outputs/scans",
                "scans export person=0007 pose=1 out=outputs/scans",
            ),
            "no unfinished file is left behind",
        ),
        Verb(
            "scans pack",
            "pack folders of gdna synthesize, or packs of several machines, into one file",
            config_scans.ScansPack,
            "gdna.apps.scans.pack",
            (
                "scans pack source=[data/open_scans,data/open_scans_poses] out=data/open_scans.gdnapack",
                "scans pack source=[machine0.gdnapack,machine1.gdnapack]",
            ),
            "the old pack is as it was",
        ),
        Verb(
            "scans sheet",
            "draw every person of the pack from four sides, and all people on one picture",
            config_scans.ScansSheet,
            "gdna.apps.scans.sheet",
            ("scans sheet out=outputs/scans/sheets workers=2",),
            "finished pictures are kept",
        ),
        Verb(
            "scans datasheet",
            "fill the tables of docs/scans.md and draw its plots",
            config_scans.ScansDatasheet,
            "gdna.apps.scans.datasheet",
            ("scans datasheet out=docs/scans.md",),
            "the old text is as it was",
        ),
    )
}
FAMILIES = {"scans": "look into the pack of open scans, export from it, build it"}
ALIASES = {"test": "generate"}
