"""Commands that destroy: each says how much there is, asks, and does nothing without an answer.

A command that destroys has an option ``yes: Yes`` and calls :func:`require` before anything else:
in a script, where nobody can answer, it is refused in one line unless ``--yes`` is given. Then it
counts, and asks with :func:`given`. What is named one by one, such as a job that is cancelled, is
not asked about.
"""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from naq.cli import render, visible
from naq.exceptions import ConfigurationError

__all__ = ["Yes", "given", "require"]

Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative=(), help="Do not ask.")]


def require(yes: bool, what: str) -> None:
    """Refuse to go on if nobody can be asked.

    Args:
        yes: whether the answer was given with the command.
        what: the command does, for people: ``removes the jobs of mail``.

    Raises:
        ConfigurationError: there is no terminal, and no ``--yes``.
    """
    if not (yes or sys.stdin.isatty()):
        raise ConfigurationError(f"this {what}, and there is no terminal to ask at: give --yes")


def given(yes: bool, question: str) -> bool:
    """Ask on the terminal, unless the answer was given with the command; whether it is yes."""
    if yes:
        return True
    sys.stderr.write(f"{visible.inline(question)} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if answer.strip().lower() in ("y", "yes"):
        return True
    render.line("nothing was removed")
    return False
