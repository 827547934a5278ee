"""The program: commands, and what becomes of errors and signals."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn, TextIO

import typer

from lmarc._version import __version__
from lmarc.errors import EXIT_INTERRUPTED, LmarcError

_OPEN_FILES = 8192
_GC_THRESHOLD = 100_000

app = typer.Typer(
    name="lmarc",
    help="A file archiver that compresses by prediction.",
    epilog=(
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 some sources skipped, 10 not an lmarc archive, 11 damaged, "
        "12 wrong key, 13 model or backend missing, 14 environment mismatch, 15 unsupported version or feature, "
        "16 unsafe member refused, 17 limit exceeded, 130 interrupted."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: Commands in the order of --help: the module below lmarc.cli, and the function in it, or the group of commands.
COMMANDS = {
    "pack": ("pack", "pack"),
    "unpack": ("unpack", "unpack"),
    "list": ("list_", "list_members"),
    "cat": ("cat", "cat"),
    "test": ("test", "test"),
    "info": ("info", "info"),
    "diff": ("diff", "diff"),
    "add": ("add", "add"),
    "rm": ("rm", "rm"),
    "compact": ("compact", "compact"),
    "repair": ("repair", "repair"),
    "backends": ("backends", "backends"),
    "models": ("models", "models"),
    "plugin": ("plugin", "plugin"),
}


def _print_version(value: bool) -> None:
    if value:
        print(f"lmarc {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A file archiver that compresses by prediction."""


def add_commands(words: Sequence[str]) -> None:
    """Give `app` its commands; where the first word says which it is, that one alone, since making them takes time."""
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        module, function = COMMANDS[name]
        command = getattr(importlib.import_module(f"lmarc.cli.{module}"), function)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


_NOTHING_LEFT = "nothing incomplete was left behind, the same command starts again"
_AFTER_INTERRUPT = {"unpack": "what has its name is complete, the same command with --resume goes on"}


def _verb() -> str:
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "")


def _notes(error: BaseException) -> str:
    """What those who were at work when it was raised had to say."""
    return "; ".join(getattr(error, "__notes__", ()))


def _with_notes(message: str, error: BaseException) -> str:
    return f"{message}; {notes}" if (notes := _notes(error)) else message


class _Interrupted(BaseException):
    """SIGINT or SIGTERM. Not KeyboardInterrupt, which the command parser would turn into its own message and code."""


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Interrupted


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"lmarc: warning: {message}", file=sys.stderr)


def main() -> NoReturn:
    """Run the program and exit with its code."""
    _allow_many_files()
    # An index is a great many objects and no cycles: looking for some after every 700 doubles the time of reading it.
    gc.set_threshold(_GC_THRESHOLD)
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.showwarning = _show_warning
    # A name that the terminal's encoding lacks is no reason to fail; and unbuffered (PYTHONUNBUFFERED) standard output
    # may write a part of what it is given and say nothing.
    name = os.devnull if sys.stdout is None else 1
    encoding = None if sys.stdout is None else sys.stdout.encoding
    sys.stdout = open(name, "w", encoding=encoding, errors="backslashreplace", closefd=name != 1)
    code = 0
    add_commands(sys.argv[1:])
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except _Interrupted as interrupt:
        _finish(EXIT_INTERRUPTED, f"interrupted; {_notes(interrupt) or _AFTER_INTERRUPT.get(_verb(), _NOTHING_LEFT)}")
    except LmarcError as error:
        _finish(error.exit_code, _with_notes(str(error), error))
    except BrokenPipeError:
        # Whoever read our output has gone.
        code = 1
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        _finish(1, _with_notes(message, error))
    except MemoryError:
        _finish(1, "out of memory (fewer --jobs need less)")
    _exit(code)


def _allow_many_files() -> None:
    """Extraction keeps directories open to spare looking them up: ask for what the system grants anyway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _finish(code: int, message: str) -> NoReturn:
    from lmarc.archive.paths import escape

    print(f"lmarc: {escape(message)}", file=sys.stderr)
    _exit(code)


def _exit(code: int) -> NoReturn:
    """End at once: nobody waits for a worker that is in the middle of a chunk, nor for memory to be given back."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 1
    except OSError as error:
        print(f"lmarc: standard output: {error.strerror}", file=sys.stderr)
        code = code or 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
