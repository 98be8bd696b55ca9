"""The original's command lines: its keys under other names, its keys that mean nothing here, its scripts' options.

What is taken otherwise than typed is said in one line each, on stderr.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

WITHOUT_MEANING = {
    "trainer.deterministic": "CPU runs are deterministic by their seed",
    "trainer.profiler": "there is no profiler",
    "trainer.accelerator": "several devices are trained on by distributed data parallel anyway",
    "datamodule.num_workers": "scans are kept in memory",
    "datamodule.load_img": "the stage says what is read",
    "datamodule.load_cache": "the stage says what is read",
    "datamodule.load_surface": "the stage says what is read",
    "datamodule.load_res": "the prepared scans say how large their pictures are",
    "model.img_res": "the prepared scans say how large their pictures are",
    "model.lambda_recon": "the original does not use it either",
    "model.ray_tracer.n_secant_steps": "precompute marches as the original does",
    "model.ray_tracer.max_points": "precompute marches as the original does",
    "model.ray_tracer.depth_range": "precompute marches as the original does",
    "model.ray_tracer.n_steps": "precompute marches as the original does",
    "model.ray_tracer.check_cube_intersection": "precompute marches as the original does",
}
ONLY_VALUE = {"trainer.accelerator": "ddp"}  # other values of these keys do mean something
ONLY_VERBS = ("train", "precompute", "generate")
NO_CRITIC = {"false": "model.lambda_gan=0", "true": None}
SCRIPT_OPTIONS = ("--tot", "--id")  # of preprocess.py
SCRIPT_DATA = "datamodule=thuman"  # the only data set that it knows


@dataclass
class Translated:
    """Arguments as gdna takes them, and what to tell."""

    arguments: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def translate(verb: str, arguments: Sequence[str]) -> Translated:
    """Arguments of `verb` in the original's spelling; all others pass unchanged."""
    given = _script_options(arguments) if verb == "preprocess" else Translated(list(arguments))
    if verb not in ONLY_VERBS:
        return given
    result = Translated(notes=given.notes)
    for argument in given.arguments:
        key, _, value = argument.lstrip("+").partition("=")
        if key == "model.use_gan" and value.lower() in NO_CRITIC:
            taken = NO_CRITIC[value.lower()]
            result.notes.append(f"{argument}: " + (f"taken as {taken}" if taken else "as the fine stage does anyway"))
            result.arguments += [taken] if taken else []
        elif key in WITHOUT_MEANING and value == ONLY_VALUE.get(key, value):
            result.notes.append(f"{argument}: left out; {WITHOUT_MEANING[key]}")
        else:
            result.arguments.append(argument)
    return result


def _script_options(arguments: Sequence[str]) -> Translated:
    """`--tot 8 --id 3`, as preprocess.py takes them."""
    result = Translated()
    waiting = list(arguments)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if name not in SCRIPT_OPTIONS:
            result.arguments.append(name + equals + value)
            continue
        value = value if equals else waiting.pop(0) if waiting else ""
        result.arguments.append(f"{name.removeprefix('--')}={value}")
        result.notes.append(f"{name} {value}: taken as {result.arguments[-1]}")
    if result.notes and not any(a.startswith("datamodule=") for a in result.arguments):
        result.arguments.append(SCRIPT_DATA)
        result.notes.append(f"preprocess.py prepares THuman2.0: {SCRIPT_DATA}")
    return result
