"""What may be asked of training. Free of torch, so that the command line's help is quick.

Names follow the original's configuration files; where its fine stage has other defaults, `fine_settings` gives them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from gdna.errors import GdnaError
from gdna.keys import HELP, key


class Decay(Enum):
    """What becomes of the learning rate."""

    none = "none"
    cosine = "cosine"
    time = "time"


class LoggerKind(Enum):
    """Where losses and images are logged."""

    tensorboard = "tensorboard"
    wandb = "wandb"
    none = "none"


class Precision(Enum):
    """Arithmetic of the networks; weights and optimisers are 32 bit in either."""

    auto = "auto"
    full = "32-true"
    bf16 = "bf16-mixed"


class Placement(Enum):
    """Where the prepared scans are stacked."""

    auto = "auto"
    device = "device"
    host = "host"


@dataclass(frozen=True)
class TrainerSettings:
    """How long, on what, and how often to look up."""

    max_epochs: int = key(300, "passes_per_epoch times the scans make an epoch")
    max_seconds: float = key(0.0, "stop cleanly after so long, to be resumed; 0: no limit")
    gradient_clip_val: float = key(0.1, "largest norm of a gradient; 0: not clipped")
    check_val_every_n_epoch: int = key(1, "epochs between two validations; 0: none")
    log_every_n_steps: int = key(5, "steps between two log entries")
    save_every_seconds: float = key(120.0, "seconds between two checkpoints, besides one an epoch")
    accelerator: str = key("auto", "cpu, cuda, mps or auto")
    devices: int = key(1, "devices to train on, one process each; -1: all")
    precision: Precision = field(
        default=Precision.auto, metadata={HELP: "arithmetic of the larger networks; auto: bfloat16 on CUDA"}
    )


@dataclass(frozen=True)
class DataSettings:
    """What a step draws."""

    batch_size: int = key(16, "scans a step and device (8 in the fine stage)")
    points_per_frame: int = key(2000, "points a scan and step; the coarse stage adds an eighth in the whole box")
    passes_per_epoch: int = key(10, "how often an epoch visits each scan")
    placement: Placement = field(
        default=Placement.auto, metadata={HELP: "where scans are kept; auto: on the device if they fit"}
    )


@dataclass(frozen=True)
class OptimSettings:
    """Adam for the model; for the critic too, with betas (0, 0.99)."""

    lr: float = key(1e-3, "learning rate (2e-3 in the fine stage)")
    lr_dis: float = key(2e-3, "learning rate of the critic")
    decay: Decay = field(
        default=Decay.none,
        metadata={HELP: "cosine: learning rates fall to zero over the last steps; time: of trainer.max_seconds"},
    )
    decay_from: float = key(0.7, "share of the run after which they fall")
    ema: float = key(
        0.0, "fine stage: the saved model is a moving average with this momentum (0.999); 0: the model itself"
    )


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses and when they count."""

    lambda_reg: float = key(1e-3, "mean square of codes")
    lambda_offset: float = key(0.0, "mean square of what sets scans of a person apart beyond their poses")
    offset_dropout: float = key(
        0.0, "share of scans shown by their person and pose alone, without offsets of their own, as new poses are"
    )
    lambda_pose: float = key(3.0, "shape_pose=local: what the pose does, regressed on codes of scans and people")
    pose_jitter: float = key(0.15, "noise on what shape codes see of the pose, against learning scans by heart")
    nepochs_pretrain: int = key(1, "epochs with the losses on bones")
    lambda_bone_occ: float = key(1.0, "points on the bones are inside")
    lambda_bone_w: float = key(10.0, "joints move with their bones")
    lambda_skin: float = key(
        0.0, "the body's skin moves by the body model's weights, in all epochs; the original has no such loss"
    )
    lambda_empty: float = key(
        1.0, "neutral space that no scan ever reaches is empty, in all epochs; 0: not asked, as in the original"
    )
    lambda_disp: float = key(10.0, "the warp carries the body without clothes onto the neutral body")
    lambda_gan: float = key(1.0, "fine stage: the critic's opinion of normal maps")
    lambda_grad: float = key(10.0, "fine stage: R1 penalty of the critic (gamma)")
    d_reg_every: int = key(16, "fine stage: steps between two R1 penalties")
    common_outline: bool = key(
        True,
        "fine stage: the critic sees scan and drawing where both show the person, as outlines are not the fine "
        "stage's to change; false: all of them, as in the original",
    )
    random_people: float = key(
        0.0,
        "fine stage: share of the drawings for the critic that show random people in the scans' poses, from "
        "gdna precompute random_people=1; 0: trained people alone, as in the original",
    )
    norm_loss_3d: bool = key(True, "fine stage: normals are compared at points of the scan; false: in the images")
    optim: OptimSettings = field(default_factory=OptimSettings)

    @property
    def looks_at_pictures(self) -> bool:
        """Whether the fine stage compares normal maps, and so needs the correspondence cache."""
        return self.lambda_gan > 0 or not self.norm_loss_3d


@dataclass(frozen=True)
class TrainSettings:
    """Everything but the model's own configuration."""

    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    model: LossSettings = field(default_factory=LossSettings)
    datamodule: DataSettings = field(default_factory=DataSettings)
    seed: int = key(42, "the same seed makes the same model (exactly so on a CPU)")
    resume: bool = key(True, "go on from the last checkpoint of this experiment")
    logger: LoggerKind = field(default=LoggerKind.tensorboard, metadata={HELP: "where losses and images are logged"})

    def __post_init__(self) -> None:
        positive = {
            "trainer.max_epochs": self.trainer.max_epochs,
            "trainer.log_every_n_steps": self.trainer.log_every_n_steps,
            "model.d_reg_every": self.model.d_reg_every,
            "datamodule.batch_size": self.datamodule.batch_size,
            "datamodule.points_per_frame": self.datamodule.points_per_frame,
            "datamodule.passes_per_epoch": self.datamodule.passes_per_epoch,
        }

        for name, value in positive.items():
            if value < 1:
                raise GdnaError(f"{name}={value}: expected 1 or more")
        if self.model.optim.decay is Decay.time and self.trainer.max_seconds <= 0:
            raise GdnaError("model.optim.decay=time: learning rates fall by the clock; give trainer.max_seconds")
        for name in ("offset_dropout", "random_people"):
            share = getattr(self.model, name)
            if not 0 <= share <= 1:
                raise GdnaError(f"model.{name}={share}: expected a share, from 0 to 1")
        if self.model.random_people and not self.model.norm_loss_3d:
            raise GdnaError(
                "model.norm_loss_3d=false: compares normals in the pictures, and no scan is of the people that "
                f"model.random_people={self.model.random_people} draws; give one of the two up"
            )
        if not 0 <= self.model.optim.ema < 1:
            raise GdnaError(
                f"model.optim.ema={self.model.optim.ema}: expected 0 (off) or a momentum below 1, such as 0.999"
            )


def fine_settings(settings: TrainSettings | None = None) -> TrainSettings:
    """The given settings (default: all defaults) with the learning rate and batch size of the fine stage."""
    settings = settings or TrainSettings()
    return replace(
        settings,
        model=replace(settings.model, optim=replace(settings.model.optim, lr=2e-3)),
        datamodule=replace(settings.datamodule, batch_size=8),
    )
