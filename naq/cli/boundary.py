"""Where every error of the ``naq`` command ends: as lines on stderr and an exit code.

Nothing passes :func:`run` but an exit code of :mod:`naq.base.exits`. A traceback is shown to those
who ask for it, with ``--log-level debug`` or ``NAQ_LOG_LEVEL=debug``. Which level was asked for is
read from the parsed command line, never from its words: ``debug`` may be the name of a queue.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import cyclopts

from naq.base.exits import Exit
from naq.cli import render
from naq.exceptions import (
    ConfigurationError,
    EnvironmentProblemError,
    JobNotFoundError,
    NaqConnectionError,
    NaqException,
    QueueNotFoundError,
    ServerRefusedError,
    SupervisorError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ended", "exit_code", "problems", "run", "say"]


def run(app: cyclopts.App, words: Sequence[str]) -> int:
    """Run the command that ``words`` stand for; return its exit code. Nothing is raised.

    Only ``SystemExit`` passes, of a program that has ended by itself.
    """
    _write_anything()
    debug = os.environ.get("NAQ_LOG_LEVEL", "").lower() == "debug"
    try:
        command, bound, _ = app.parse_args(list(words), print_error=False, exit_on_error=False)
        level = getattr(bound.arguments.get("common"), "log_level", None)
        debug = debug if level is None else level == "debug"
        result = command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - nothing may pass
        return ended(exc, words, debug=debug)
    return int(result) if isinstance(result, int) else Exit.DONE


def ended(exc: BaseException, words: Sequence[str] = (), *, debug: bool = False) -> int:
    """Say why a command has ended, in one line where one is enough; return the exit code."""
    exc = _cause(exc)
    if isinstance(exc, KeyboardInterrupt):
        return Exit.FORCED
    if isinstance(exc, BrokenPipeError):
        _close_stdout()
        return Exit.BROKEN_PIPE
    if isinstance(exc, UnicodeError) and (odd := _odd(words)):
        exc, cause = ConfigurationError(odd), exc
        exc.__cause__ = cause
    if isinstance(exc, OSError):
        _close_stdout()
    with contextlib.suppress(OSError):  # if stderr cannot be written either, the code says it
        if debug:
            traceback.print_exception(exc)
        say(exc)
    return exit_code(exc)


def _cause(exc: BaseException) -> BaseException:
    """Return the error that a group of errors is about: its first, unless one is naq's own."""
    while isinstance(exc, BaseExceptionGroup):
        own = [one for one in exc.exceptions if isinstance(one, (NaqException, BaseExceptionGroup))]
        exc = (own or exc.exceptions)[0]
    return exc


def say(exc: BaseException) -> int:
    """Print an error on stderr, each of its problems in one line; return its exit code."""
    for problem in problems(exc):
        render.line(problem)
    return exit_code(exc)


def problems(exc: BaseException) -> list[str]:
    """Return what is to be said about an error, each in one line."""
    match exc:
        case ConfigurationError():
            texts = list(exc.problems)
        case NaqException() | TimeoutError() | cyclopts.CycloptsError():
            texts = [str(exc)]
        case OSError() if _of_output(exc):
            texts = [f"cannot write the output: {exc.strerror}"]
        case FileNotFoundError() if exc.filename is None:
            texts = ["the working directory has been deleted; change to one that exists"]
        case OSError():
            where = "" if exc.filename is None else f"{exc.filename}: "
            texts = [f"{where}{exc.strerror or exc}"]
        case _:
            said = " ".join(str(exc).split())[:200]
            text = f"a fault in naq: {type(exc).__name__}" + (f": {said}" if said else "")
            texts = [f"{text}; run it with NAQ_LOG_LEVEL=debug to see where, and report it"]
    return [" ".join(text.split()) or type(exc).__name__ for text in texts]


_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What a full disk, or an output that is gone, answers to a write."""


def _of_output(exc: BaseException) -> bool:
    return isinstance(exc, OSError) and exc.errno in _OUTPUT and exc.filename is None


_CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    (JobNotFoundError, Exit.NOT_FOUND),
    (QueueNotFoundError, Exit.NOT_FOUND),
    (ServerRefusedError, Exit.FAILED),
    (NaqConnectionError, Exit.UNAVAILABLE),
    (EnvironmentProblemError, Exit.CONFIG),
    (ConfigurationError, Exit.USAGE),
    (cyclopts.CycloptsError, Exit.USAGE),
    (NaqException, Exit.FAILED),
    (OSError, Exit.FAILED),
)
"""The exit code of an error: that of the first class it is of; of no class, a fault in naq."""


def exit_code(exc: BaseException) -> int:
    """Return the exit code of an error."""
    if isinstance(exc, SupervisorError):
        return exc.exit_code
    if _of_output(exc):
        return Exit.OUTPUT
    return next((code for kind, code in _CODES if isinstance(exc, kind)), Exit.INTERNAL)


def _odd(words: Sequence[str]) -> str:
    """Return what is wrong with the bytes of the command line; nothing if nothing is."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            return f"{word!a} is not valid UTF-8"
    return ""


def _write_anything() -> None:
    r"""Let no text fail to be written: what an encoding lacks is written as ``\xe9``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before we were started
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _close_stdout() -> None:
    """Let nothing more be written: the interpreter flushes at its exit, and would complain."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
