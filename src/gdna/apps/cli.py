"""`gdna VERB key=value ...`: finds the verb, composes its settings, runs it, and turns bad input into one line."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

import gdna
from gdna.apps.config import TRACEBACK_VARIABLE
from gdna.apps.verbs import ALIASES, VERBS, Verb
from gdna.errors import GdnaError

BAD_INPUT = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
SMALLER = "try a smaller datamodule.batch_size, datamodule.points_per_frame, mesh_resolution or image_size"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 2 for bad input (one line on stderr), 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except BrokenPipeError:  # such as `gdna --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (GdnaError, OSError, MemoryError, RuntimeError) as error:
        line = one_line(error)
        if line is None or os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"gdna: {line}", file=sys.stderr)
        return BAD_INPUT


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        from gdna.apps.help import overview

        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"gdna {gdna.__version__}")
        return 0
    verb, rest = find_verb(arguments[0]), arguments[1:]
    if "-h" in rest or "--help" in rest:
        from gdna.apps.help import verb_help

        print(verb_help(verb))
        return 0
    try:
        return _run(verb, rest)
    except KeyboardInterrupt:
        print(f"\ngdna {verb.name}: interrupted; {verb.kept}", file=sys.stderr)
        return INTERRUPTED


def _run(verb: Verb, rest: list[str]) -> int:
    from gdna.apps import compose
    from gdna.apps.original_keys import translate

    translated = translate(verb.name, rest)
    for note in translated.notes:
        print(f"gdna: {note}", file=sys.stderr)
    rest = named(verb, translated.arguments)
    if "-m" in rest or "--multirun" in rest:
        compose.sweep(verb, [a for a in rest if a not in ("-m", "--multirun")], run_verb)
        return 0
    settings = compose.settings(verb, [a for a in rest if a != "--cfg"])
    if "--cfg" in rest:
        print(compose.as_yaml(settings), end="")
        return 0
    run_verb(verb, settings)
    return 0


def named(verb: Verb, arguments: list[str]) -> list[str]:
    """The verb's positional argument as the key it stands for, quoted so that any file's name passes."""
    key = verb.positional
    if key is None:
        return arguments
    return [a if "=" in a or a.startswith("-") else f"{key}='{a}'" for a in arguments]


def run_verb(verb: Verb, settings: object) -> None:
    importlib.import_module(verb.module).run(settings)


def find_verb(name: str) -> Verb:
    name = ALIASES.get(name, name)
    if name not in VERBS:
        close = difflib.get_close_matches(name, [*VERBS, *ALIASES], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise GdnaError(f"{name}: no such verb; {hint}`gdna --help` lists {', '.join(VERBS)}")
    return VERBS[name]


def one_line(error: BaseException) -> str | None:
    """What to tell the user, or None where the error is a fault of the program."""
    text = " ".join(str(error).split())
    match error:
        case GdnaError():
            return text
        case FileNotFoundError():
            return f"{error.filename}: no such file or folder"
        case OSError(filename=str() | bytes() as name):
            return f"{os.fsdecode(name)}: {error.strerror}"
        case MemoryError():
            return f"out of memory; {SMALLER}"
        case RuntimeError() if "can't allocate memory" in text:  # torch's, on a CPU
            return f"out of memory; {SMALLER}"
        case RuntimeError() if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch here
            return f"out of memory on the device ({text.split('. ')[0]}); {SMALLER}"
    return None


if __name__ == "__main__":
    sys.exit(main())
