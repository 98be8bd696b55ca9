"""The keys of each verb: the names of the original's configuration files, with the settings of the folders below as
their leaves. Free of torch and hydra, so that help is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from gdna.bench.settings import BenchSettings
from gdna.errors import GdnaError
from gdna.evaluate.settings import EvaluateSettings
from gdna.generate.settings import GenerateSettings
from gdna.keys import HELP, key
from gdna.model.config import DeformerConfig, ModelConfig, NormalConfig, OccupancyConfig
from gdna.train.settings import (
    DataSettings,
    LoggerKind,
    LossSettings,
    TrainerSettings,
    TrainSettings,
)

TRACEBACK_VARIABLE = "GDNA_TRACEBACK"  # any value shows the traceback of bad input too
OUTPUTS = "outputs"  # experiments lie below
OPEN_SCANS = "data/open_scans"
CACHE = "cache_img_dvr"  # correspondences, in the coarse model's experiment
CONTRADICTION = "the checkpoint brings its own; a contradiction is an error"
SMPL_MODELS = "body, body_path and gender, for a model of SMPL bodies"
AS_IN = "as_in"  # metadata: the verb whose help explains these keys


def as_in(verb: str, meaning: str) -> dict[str, str]:
    """For nested keys that help mentions in one line only."""
    return {AS_IN: verb, HELP: meaning}


class BodyKind(Enum):
    """Whose body is under the clothes."""

    open = "open"
    smpl = "smpl"
    smplh = "smplh"
    smplx = "smplx"


class Gender(Enum):
    neutral = "neutral"
    male = "male"
    female = "female"


class Bones(Enum):
    """Which of the body's joints the model has bones for."""

    all = "all"
    body = "body"


class Split(Enum):
    """Which people of a pack."""

    train = "train"
    held_out = "held_out"
    all = "all"


class Poses(Enum):
    """Which of a person's scans in a pack."""

    first = "first"
    extra = "extra"
    all = "all"


class Stage(Enum):
    coarse = "coarse"
    fine = "fine"


class CacheMethod(Enum):
    """How correspondences are found."""

    mesh = "mesh"
    march = "march"


@dataclass(frozen=True)
class DataModule(DataSettings):
    """Where a data set lies and what is drawn from it."""

    scans_path: str = key(
        OPEN_SCANS,
        "scans: a pack, or a folder of meshes with body parameters beside them; where the open scans' folder is not "
        "there, their pack",
    )
    split: Split = field(default=Split.train, metadata={HELP: "people of a pack"})
    poses: Poses = field(default=Poses.first, metadata={HELP: "scans of each person of a pack"})
    params_path: str | None = key(None, "body parameters, where they do not lie beside the meshes")
    dataset_path: str = key("data/open_processed", "prepared samples, written by preprocess")
    data_list: str | None = key(None, "a text or csv file whose first column names the scans to use; null: all")
    cache_path: str | None = key(None, "correspondences (precompute); null: beside the coarse model")
    one_person: str | None = key(None, "all scans show this one person (a name), in many poses: they share a code")
    body: BodyKind = field(default=BodyKind.open, metadata={HELP: "body model of the scans"})
    body_path: str | None = key(None, "your SMPL, SMPL-H or SMPL-X file; null: where the original looks for it")
    gender: Gender = field(default=Gender.neutral, metadata={HELP: "of the body, where body_path is null"})
    num_betas: int = key(10, "shape parameters of SMPL, SMPL-H or SMPL-X that are used")
    bones: Bones = field(
        default=Bones.all, metadata={HELP: "bones of SMPL-H and SMPL-X; body: SMPL's 24, fingers go with the hands"}
    )


@dataclass(frozen=True)
class ModelKeys(LossSettings):
    """Architecture and losses; the architecture goes into the checkpoint."""

    stage: Stage = field(default=Stage.coarse, metadata={HELP: "what is trained (+experiments=fine sets fine)"})
    dim_shape: int = key(64, "numbers in a shape code")
    dim_detail: int = key(64, "numbers in a detail code")
    scan_offsets: bool = key(
        True, "scans of one person differ from the person's shape code by offsets of their own; the original has none"
    )
    shape_pose: str = key(
        "none", "local: shape codes also see how the body is bent and tilted, as cloth falls; none, as in the original"
    )
    person_code: str = key(
        "mean", "a person's own shape code: the mean of its scans', or that of its scan at rest (rest; NAME_rest)"
    )
    network: OccupancyConfig = field(default_factory=OccupancyConfig)
    norm_network: NormalConfig = field(default_factory=NormalConfig)
    deformer: DeformerConfig = field(default_factory=DeformerConfig)

    def losses(self) -> LossSettings:
        return _part(self, LossSettings)

    def architecture(self, num_people: int, num_betas: int) -> ModelConfig:
        return ModelConfig(
            num_people,
            self.stage.value,
            self.dim_shape,
            self.dim_detail,
            num_betas,
            network=self.network,
            norm_network=self.norm_network,
            deformer=self.deformer,
            num_scans=int(self.scan_offsets),
            shape_pose=self.shape_pose,
            person_code=self.person_code,
        )


@dataclass(frozen=True)
class Trainer(TrainerSettings):
    gpus: int | None = key(None, "the original's name of devices; 0: train on the CPU")


@dataclass(frozen=True)
class Train:
    """Keys of `gdna train`."""

    expname: str = key("coarse", "name of the experiment: everything is written below outputs/<expname>")
    resume: bool = key(True, "go on from the last checkpoint of this experiment")
    starting_path: str = key(
        "outputs/coarse/checkpoints/last.safetensors",
        "the coarse model that the fine stage refines; given to the coarse stage: weights to begin with",
    )
    seed: int = key(42, "the same seed makes the same model (exactly so on a CPU)")
    logger: LoggerKind = field(default=LoggerKind.tensorboard, metadata={HELP: "where losses and images are logged"})
    trainer: Trainer = field(default_factory=Trainer)
    model: ModelKeys = field(default_factory=ModelKeys)
    datamodule: DataModule = field(default_factory=DataModule)

    def settings(self) -> TrainSettings:
        """What the training loops take."""
        trainer = self.trainer
        if trainer.gpus == 0:
            trainer = replace(trainer, accelerator="cpu", devices=1)
        elif trainer.gpus is not None:
            trainer = replace(trainer, devices=trainer.gpus)
        return TrainSettings(
            trainer=_part(trainer, TrainerSettings),
            model=self.model.losses(),
            datamodule=_part(self.datamodule, DataSettings),
            seed=self.seed,
            resume=self.resume,
            logger=self.logger,
        )


@dataclass(frozen=True)
class Precompute:
    """Keys of `gdna precompute`."""

    expname: str = key("coarse", "the coarse model's experiment")
    agent_tot: int = key(1, "split the scans over so many processes")
    agent_id: int = key(0, "which of them this is, from 0")
    method: CacheMethod = field(
        default=CacheMethod.mesh,
        metadata={HELP: "mesh: draw the person's mesh; march: along every ray, as the original, much slower"},
    )
    random_people: int = key(0, "people drawn in the pose of every scan, for model.random_people of the fine stage")
    device: str = key("auto", "cpu, cuda, cuda:1 or auto")
    datamodule: DataModule = field(default_factory=DataModule)
    model: ModelKeys = field(
        default_factory=ModelKeys,
        metadata=as_in("train", CONTRADICTION),
    )


@dataclass(frozen=True)
class Evaluate(EvaluateSettings):
    """Keys of `gdna evaluate`."""

    expname: str = key("open", "your experiment below outputs; open: the shipped model")
    held_out: str | None = key(None, "prepared scans never trained on: other people, or the same in other poses")
    held_out_scans: str | None = key(None, "the scans of held_out themselves, for distances between surfaces")
    poses: str | None = key(None, "a second folder like held_out, such as data/open_processed_poses")
    poses_scans: str | None = key(None, "the scans of poses themselves")
    against: tuple[str, ...] = key((), "evaluation.json of other models, to stand beside this one's on the page")
    device: str = key("auto", "cpu, cuda, cuda:1 or auto")
    devices: int = key(1, "processes that share the work, each with a GPU of its own where there are any")
    out: str | None = key(None, "folder of the results; null: outputs/<expname>/evaluation")
    datamodule: DataModule = field(default_factory=DataModule)


@dataclass(frozen=True)
class Preprocess:
    """Keys of `gdna preprocess`."""

    tot: int = key(1, "split the scans over so many processes")
    id: int = key(0, "which of them this is, from 0")
    seed: int = key(0, "the same seed draws the same samples")
    workers: int = key(1, "processes on this machine")
    points: int = key(100_000, "samples near the surface, and as many in the box")
    surface_points: int = key(100_000, "samples on the surface with their normals")
    views: int = key(18, "normal maps around the person")
    image_size: int = key(256, "pixels of a normal map")
    datamodule: DataModule = field(default_factory=DataModule)


class Rest(Enum):
    """Whether `gdna synthesize` makes scans at rest."""

    none = "none"
    too = "too"
    only = "only"


@dataclass(frozen=True)
class Synthesize:
    """Keys of `gdna synthesize`."""

    count: int = key(8, "people")
    extra_poses: int = key(0, "scans of a person in other poses; they go to <out>_poses")
    extra_people: int | None = key(None, "how many of the people, from the first, come in other poses; null: all")
    rest: Rest = field(
        default=Rest.none,
        metadata={HELP: "scans of everybody at rest, arms 45 degrees down, too, or only these; they go to <out>_rest"},
    )
    seed: int = key(0, "the same seed makes the same people")
    out: str = key(OPEN_SCANS, "folder of the scans")
    ply: bool = key(False, "write NAME.ply too, to look at (preprocess does not need it)")
    tot: int = key(1, "split the people over so many processes or machines")
    id: int = key(0, "which of them this is, from 0")
    workers: int = key(1, "processes on this machine")

    def __post_init__(self) -> None:
        if self.count < 1 or self.extra_poses < 0:
            raise GdnaError(f"count={self.count} extra_poses={self.extra_poses}: expected 1 or more, 0 or more")


@dataclass(frozen=True)
class ImportCheckpoint:
    """Keys of `gdna import-checkpoint`."""

    path: str | None = key(None, "checkpoint of the original code (last.ckpt)")
    out: str | None = key(None, "file, or experiment's folder, to write; null: last.safetensors beside the checkpoint")
    data_list: str | None = key(
        None, "csv of the scans it was trained on, as lib/dataset/thuman.csv; needed to train it further"
    )


@dataclass(frozen=True)
class Generate(GenerateSettings):
    """Keys of `gdna generate`."""

    expname: str = key("open", "your experiment below outputs; open: the shipped model")
    device: str = key("auto", "cpu, cuda, cuda:1 or auto")
    out: str | None = key(None, "folder of the results; null: outputs/<expname>/videos")
    datamodule: DataModule = field(default_factory=DataModule, metadata=as_in("train", SMPL_MODELS))
    model: ModelKeys = field(
        default_factory=ModelKeys,
        metadata=as_in("train", CONTRADICTION),
    )


@dataclass(frozen=True)
class Bench(BenchSettings):
    """Keys of `gdna bench`."""


def _part(settings: Any, kind: Any) -> Any:
    """The fields of `settings` that its base class `kind` has."""
    return kind(**{name: getattr(settings, name) for name in kind.__dataclass_fields__})
