"""The tables of `gdna --help` and `gdna VERB --help`, read off the settings dataclasses.

Nothing here imports torch or hydra: help answers at once.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any

from gdna.apps.config import AS_IN
from gdna.apps.config_groups import GROUPS
from gdna.apps.verbs import ALIASES, FAMILIES, VERBS, Verb
from gdna.keys import HELP

OVERVIEW = """gdna: learns clothed, animatable, detailed 3D people from static scans; animates and exports them.

Usage: gdna VERB [key=value ...]"""
FOOT = (
    "--cfg prints the settings that result and leaves; --multirun tries several (key=a,b); keys follow Hydra's grammar."
)
HEAD_WIDTH = 38


@dataclasses.dataclass(frozen=True)
class Key:
    """One setting: its dotted name, its default as one would type it, one line of meaning."""

    name: str
    default: str
    help: str

    @property
    def section(self) -> str:
        return self.name.rpartition(".")[0]


def keys(settings: Any, prefix: str = "") -> Iterator[Key]:
    """All leaves below a settings dataclass instance, plain keys before nested ones; groups that another verb explains
    are one row."""
    fields = [(f, getattr(settings, f.name)) for f in dataclasses.fields(settings)]
    for field, value in fields:
        if not dataclasses.is_dataclass(value):
            meaning = field.metadata.get(HELP, "")
            if isinstance(value, Enum):
                meaning = f"{meaning}: {', '.join(m.name for m in type(value))}".lstrip(": ")
            yield Key(prefix + field.name, as_typed(value), meaning)
    for field, value in fields:
        if dataclasses.is_dataclass(value) and AS_IN in field.metadata:
            meaning = f"{field.metadata[HELP]} (keys as in gdna {field.metadata[AS_IN]})"
            yield Key(f"{prefix}{field.name}.*", "", meaning)
        elif dataclasses.is_dataclass(value):
            yield from keys(value, f"{prefix}{field.name}.")


def as_typed(value: Any) -> str:
    """A default in the override grammar."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Enum():
            return value.name
        case tuple() | list():
            return f"[{','.join(as_typed(v) for v in value)}]"
        case _:
            return str(value)


def verb_help(verb: Verb) -> str:
    """Usage, keys by section, config groups, examples."""
    bare = f"{verb.positional.upper()} " if verb.positional else ""
    lines = [f"gdna {verb.name}: {verb.summary}", "", f"Usage: gdna {verb.name} {bare}[key=value ...]", ""]
    section = ""
    for key in keys(verb.settings()):
        if key.section != section:
            section = key.section
            lines.append("")
        lines += _row(f"{key.name}={key.default}" if key.default else key.name, key.help)
    if verb.groups:
        lines += ["", "Whole sets of keys:"]
    for group in verb.groups:
        plus = "+" if group == "experiments" else ""
        for option, meaning in GROUPS[group].items():
            lines += _row(f"{plus}{group}={option}", meaning)
    lines += ["", "Examples:", *(f"  gdna {e}" for e in verb.examples), "", FOOT]
    return "\n".join(lines)


def _row(head: str, meaning: str) -> list[str]:
    """Key and meaning in two columns; the meaning of a long key stands below it."""
    width = max(shutil.get_terminal_size((120, 24)).columns - HEAD_WIDTH - 4, 30)
    lines = [" " * (HEAD_WIDTH + 4) + line for line in textwrap.wrap(meaning, width)]
    if len(head) > HEAD_WIDTH or not lines:
        return [f"  {head}", *lines]
    return [f"  {head:<{HEAD_WIDTH}}  {lines[0].lstrip()}", *lines[1:]]


def overview() -> str:
    """The verbs and what to type first."""
    lines = [OVERVIEW, ""]
    lines += [f"  {verb.name:<18} {verb.summary}" for verb in VERBS.values()]
    lines += ["", "  " + ", ".join(f"{alias} is another name of {name}" for alias, name in ALIASES.items())]
    lines += ["", "gdna VERB --help lists a verb's keys, their defaults and meanings.", "", "Examples:"]
    lines += [f"  gdna {verb.examples[0]}" for verb in VERBS.values()]
    return "\n".join(lines)


def family_help(family: str) -> str:
    """The actions of a family of verbs."""
    actions = [verb for verb in VERBS.values() if verb.name.startswith(f"{family} ")]
    lines = [f"gdna {family}: {FAMILIES[family]}", "", f"Usage: gdna {family} ACTION [key=value ...]", ""]
    lines += [f"  {verb.name:<15} {verb.summary}" for verb in actions]
    lines += ["", f"gdna {family} ACTION --help lists an action's keys, their defaults and meanings.", "", "Examples:"]
    lines += [f"  gdna {example}" for verb in actions for example in verb.examples]
    return "\n".join(lines)
