"""Key=value arguments into settings, by Hydra's compose: its override grammar, its groups, its interpolation.

The settings dataclasses are the schema; what does not fit is reported as one line.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gdna.apps.config_groups import GROUPS, NODES
from gdna.apps.verbs import Verb
from gdna.errors import GdnaError

HYDRA_VERSION = "1.3"  # of Hydra's defaults
QUIET = ("hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.output_subdir=null")
SWEEP_FOLDER = "outputs/multirun"
SWEEP_DIR = f"hydra.sweep.dir={SWEEP_FOLDER}"


def settings(verb: Verb, overrides: list[str]) -> Any:
    """The verb's settings with the overrides applied. Raises `GdnaError` for unknown keys and unfit values."""
    check_keys(verb, parse(overrides))
    register(verb)
    try:
        with initialize(version_base=HYDRA_VERSION, config_path=None):
            return frozen(compose(verb.config_name, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise GdnaError(_explain(error)) from error


def sweep(verb: Verb, overrides: list[str], job: Callable[[Verb, Any], None]) -> None:
    """Run `job` for every combination of key=a,b by `hydra.main`, so that its launchers (joblib, submitit) work too.

    A job that raises `GdnaError` does not stop the others; one is raised at the end. Jobs may run in other processes or
    on other machines, so what failed is noted in a file of the folder that they share.
    """
    import hydra

    check_keys(verb, parse([o for o in overrides if not o.startswith("hydra")]))
    register(verb)
    failures = Path(SWEEP_FOLDER, f".failed.{os.getpid()}").absolute()

    @hydra.main(version_base=HYDRA_VERSION, config_path=None, config_name=verb.config_name)
    def one(config: DictConfig) -> None:
        tried = [o for o in HydraConfig.get().overrides.task if o not in overrides]
        if verb.renames_jobs and not any(o.startswith("expname=") for o in tried):
            config.expname = "_".join([config.expname, *tried])
        print(f"gdna {verb.name}: {' '.join(tried)}", file=sys.stderr)
        try:
            job(verb, frozen(config))
        except GdnaError as error:
            failures.parent.mkdir(parents=True, exist_ok=True)
            with failures.open("a") as file:
                file.write("a job failed\n")
            print(f"gdna: {error}", file=sys.stderr)

    sys.argv = [sys.argv[0], *QUIET, SWEEP_DIR, *overrides, "--multirun"]
    try:
        one()
    except SystemExit as error:
        raise GdnaError("the sweep stopped; Hydra says why above") from error
    if failures.is_file():
        count = len(failures.read_text().splitlines())
        failures.unlink()
        raise GdnaError(f"{count} jobs of the sweep failed (listed above)")


def as_yaml(tree: Any) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(tree))


def register(verb: Verb) -> None:
    """Tell Hydra the verb's schema and the groups it may choose from."""
    store, known = ConfigStore.instance(), {field.name for field in dataclasses.fields(verb.settings)}
    store.store(name=f"{verb.config_name}_schema", node=writable(verb.settings))
    defaults: list[Any] = [f"{verb.config_name}_schema"]
    for group in verb.groups:
        for option, node in NODES[group].items():
            if dataclasses.is_dataclass(node):
                store.store(group=group, name=option, node=writable(node))
            else:
                mine = {key: value for key, value in node.items() if key in known}
                store.store(group=group, name=option, package="_global_", node=mine)
    if "datamodule" in verb.groups:
        defaults.append({"datamodule": "open"})
    store.store(name=verb.config_name, node={"defaults": [*defaults, "_self_"]})


def writable(schema: Any) -> DictConfig:
    """A structured config of frozen dataclasses that still takes overrides."""
    config = OmegaConf.structured(schema)
    pending = [config]
    while pending:
        node = pending.pop()
        node._set_flag("readonly", None)
        pending += [child for child in map(node._get_node, node) if isinstance(child, DictConfig)]
    return config


def frozen(config: DictConfig) -> Any:
    """The dataclasses of a composed config, with tuples for its lists."""
    kind: Any = OmegaConf.get_type(config)
    return kind(**{str(name): _plain(config[name]) for name in config})


def _plain(value: Any) -> Any:
    if isinstance(value, DictConfig):
        return frozen(value)
    return tuple(_plain(v) for v in value) if OmegaConf.is_config(value) else value


def parse(overrides: list[str]) -> list[Override]:
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            raise GdnaError(f"{text}: expected key=value")
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise GdnaError(f"{text}: not in Hydra's override grammar; quote values with spaces or commas") from error
    return parsed


def check_keys(verb: Verb, overrides: list[Override]) -> None:
    """Every key must be a setting of the verb or one of its groups, every group's value one of its options."""
    known = [*node_names(verb.settings()), *verb.groups]
    for override in overrides:
        key, value = override.key_or_group, override.value()
        if key in verb.groups:
            if value not in GROUPS[key]:
                raise GdnaError(f"{override.input_line}: {key} is one of {', '.join(GROUPS[key])}")
            if key == "experiments" and not override.is_add():
                raise GdnaError(f"{override.input_line}: write +{override.input_line}")
        elif key not in known:
            near = nearest(key, known)
            hint = f"did you mean {near}? " if near else ""
            raise GdnaError(f"{key}: unknown key; {hint}`gdna {verb.name} --help` lists all")


def node_names(tree: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, nested ones included."""
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        yield prefix + field.name
        if dataclasses.is_dataclass(value):
            yield from node_names(value, f"{prefix}{field.name}.")


def nearest(key: str, known: list[str]) -> str | None:
    """The known key that someone who typed `key` most likely meant."""
    same_end = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = difflib.get_close_matches(key, same_end, n=1, cutoff=0.0) or difflib.get_close_matches(key, known, n=1)
    if close:
        return close[0]
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    last = difflib.get_close_matches(key.rpartition(".")[2], ends, n=1)
    return ends[last[0]] if last else None


def _explain(error: Exception) -> str:
    """The first line of Hydra's error, or of its cause where that says more."""
    head = str(error).split("\n")[0].removeprefix("Error merging override ")
    if error.__cause__ is None:
        sweeping = "Ambiguous value for argument" in head
        hint = "; a list is key=[a,b], several runs are --multirun" if sweeping else ""
        key = getattr(error, "full_key", None)
        return (f"{key}: " if key else "") + head.removeprefix("Ambiguous value for argument ").strip("'") + hint
    reason = str(error.__cause__).split("\n")[0]
    if "is not a ListConfig" in reason or "is not a TupleConfig" in reason:  # omegaconf 2.3, 2.4
        reason = "expected a list, written key=[a,b]"
    return f"{head}: {reason}"
