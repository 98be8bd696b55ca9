"""Everything that is needed to rebuild a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from gdna.deform.settings import INIT_BONES
from gdna.errors import GdnaError
from gdna.keys import key

T = TypeVar("T")
NOVELTY = 0.3  # of random people, see `gdna.model.codes.sample_people`; chosen by measuring (docs/evaluation.md)


@dataclass(frozen=True)
class OccupancyConfig:
    width: int = key(256, "neurons in a layer of the occupancy field")
    depth: int = key(4, "its hidden layers")
    skip_in: int = key(4, "layer that sees the input again")
    multires: int = key(4, "octaves of its positional encoding")
    bias: float = key(1.0, "radius of the sphere it starts as, in box coordinates")
    logit_scale: float = key(10.0, "its logits are the last layer times this; the original has 1")


@dataclass(frozen=True)
class NormalConfig:
    width: int = key(256, "neurons in a layer of the normal field")
    depth: int = key(8, "its hidden layers")
    skip_in: int = key(4, "layer that sees the input again")
    multires: int = key(4, "octaves of its positional encoding; 6 suits scans of finer detail")
    pose: str = key("none", "local: normals also see how the joints near a point are bent; none, as in the original")
    base: str = key("none", "surface: learned is a correction of the coarse surface's normal; none, as in the original")


@dataclass(frozen=True)
class MlpConfig:
    width: int = key(128, "neurons in a layer")
    depth: int = key(4, "hidden layers")


@dataclass(frozen=True)
class DeformerConfig:
    max_steps: int = key(50, "Broyden steps of the correspondence search (10 in the fine stage)")
    soft_blend: float = key(20.0, "sharpness of skinning weights")
    init_bones: tuple[int, ...] = key(INIT_BONES, "bones from which the search starts")
    weights_at: str = key(
        "neutral", "where the search asks the skinning field: at the neutral point, or canonical as in the original"
    )
    warp_betas: int = key(10, "leading betas that the warp sees; the open body's later ones move less than 0.7 mm")
    disp_network: MlpConfig = field(default_factory=MlpConfig)
    lbs_network: MlpConfig = field(default_factory=MlpConfig)


@dataclass(frozen=True)
class ModelConfig:
    num_people: int = 1
    stage: str = "coarse"  # or "fine": normal field and detail codes are trained
    dim_shape: int = 64
    dim_detail: int = 64
    num_betas: int = 40
    num_bones: int = 24
    network: OccupancyConfig = field(default_factory=OccupancyConfig)
    norm_network: NormalConfig = field(default_factory=NormalConfig)
    deformer: DeformerConfig = field(default_factory=DeformerConfig)
    num_scans: int = 0  # with offsets of their own from their people's shape codes; 0: there are none
    shape_pose: str = "none"  # or "local": shape codes see the pose
    person_code: str = "mean"  # of the person's scans; or "rest": of the one at rest

    def __post_init__(self) -> None:
        if self.stage not in ("coarse", "fine"):
            raise GdnaError(f"model.stage: found {self.stage!r}, expected 'coarse' or 'fine'")
        if self.deformer.weights_at not in ("neutral", "canonical"):
            raise GdnaError(
                f"model.deformer.weights_at: found {self.deformer.weights_at!r}, expected 'neutral' or 'canonical'"
            )
        if self.norm_network.pose not in ("none", "local"):
            raise GdnaError(f"model.norm_network.pose: found {self.norm_network.pose!r}, expected 'none' or 'local'")
        if self.norm_network.base not in ("none", "surface"):
            raise GdnaError(f"model.norm_network.base: found {self.norm_network.base!r}, expected 'none' or 'surface'")
        if self.shape_pose not in ("none", "local"):
            raise GdnaError(f"model.shape_pose: found {self.shape_pose!r}, expected 'none' or 'local'")
        if self.person_code not in ("mean", "rest"):
            raise GdnaError(f"model.person_code: found {self.person_code!r}, expected 'mean' or 'rest'")
        if not self.deformer.init_bones or max(self.deformer.init_bones) >= self.num_bones:
            raise GdnaError(
                f"model.deformer.init_bones: found {self.deformer.init_bones}, expected bones below {self.num_bones}"
            )


def to_dict(config: ModelConfig) -> dict[str, Any]:
    """Nested plain values, as JSON and YAML take them."""
    return asdict(config)


def from_dict(values: Mapping[str, Any]) -> ModelConfig:
    """Inverse of `to_dict`; what is not given keeps its default. Raises `GdnaError` at unknown names."""
    return _build(ModelConfig, values, "model")


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    defaults = kind()
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise GdnaError(f"{where}.{name}: unknown setting; known are {', '.join(known)}")
        default = getattr(defaults, name)
        if is_dataclass(default):
            if not isinstance(value, Mapping):
                raise GdnaError(f"{where}.{name}: found {value!r}, expected a group of settings")
            given[name] = _build(type(default), value, f"{where}.{name}")
        else:
            given[name] = _convert(value, default, f"{where}.{name}")
    return kind(**given)


def _convert(value: Any, default: Any, where: str) -> Any:
    try:
        return tuple(int(v) for v in value) if isinstance(default, tuple) else type(default)(value)
    except (TypeError, ValueError) as error:
        raise GdnaError(f"{where}: found {value!r}, expected a value like {default!r}") from error
