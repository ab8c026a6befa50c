"""Waiting for dependencies: the board's changes and the clock, fed to the pure decision."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from naq.supervisor.dependencies import Met, Pending, Unmet, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from naq.supervisor.board import Board
    from naq.supervisor.spec import Dependency

__all__ = ["wait_for_dependencies"]


async def wait_for_dependencies(
    edges: Sequence[Dependency], board: Board, *, on_wait: Callable[[str], None]
) -> Met | Unmet:
    """Wait until ``edges`` are met or never will be.

    Args:
        edges: the dependencies of a service.
        board: where the others' statuses are.
        on_wait: told, as a text, what is being waited for.
    """
    began = trio.current_time()

    def look() -> Met | Unmet | Pending:
        return evaluate(edges, board.of, trio.current_time() - began)

    def settled() -> Met | Unmet | None:
        verdict = look()
        return None if isinstance(verdict, Pending) else verdict

    while isinstance(verdict := look(), Pending):
        on_wait(f"waiting for {', '.join(verdict.waiting_for)}")
        limit = math.inf if verdict.until is None else began + verdict.until
        with trio.move_on_at(limit):
            return await board.wait([edge.service for edge in edges], settled)
    return verdict
