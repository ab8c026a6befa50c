"""What a forked child must not inherit.

A child made by a plain ``fork``, as :mod:`multiprocessing` may do in a job, has everything its
parent had: connections, pipes, signal handlers. It must not keep them. A connection that a child
holds open is alive for the server when the parent is dead, and goes on being sent jobs. So whatever
must end with its process says here how a child gets rid of it. Programs that are started anew
(``exec``) inherit nothing of it in any case.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["drop", "undone_in_children"]

_undo: dict[int, Callable[[], None]] = {}
_registered = False


@contextmanager
def undone_in_children(undo: Callable[[], None]) -> Iterator[None]:
    """Call ``undo`` in each child that is forked inside of the block, before anything else runs."""
    global _registered  # noqa: PLW0603 - what is registered with the system stays so
    if not _registered:
        _registered = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_undo_all)
    _undo[id(undo)] = undo
    try:
        yield
    finally:
        _undo.pop(id(undo), None)


def drop(fd: int) -> None:
    """Let go of what a descriptor stands for, and keep its number taken.

    Objects that the child has inherited still know the number, and will close it some time.
    """
    with suppress(OSError):
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, fd, inheritable=False)
        os.close(nothing)


def _undo_all() -> None:
    undo = list(_undo.values())
    _undo.clear()
    for call in undo:
        with suppress(Exception):  # a child that was forked anywhere must go on in any case
            call()
