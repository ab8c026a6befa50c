"""The statuses of all replicas, and the bell for those who wait for a change."""

from __future__ import annotations

import trio

from naq.supervisor.model.board import Bell, Board, Status
from naq.supervisor.model.lifecycle import State


def status(service: str, state: State, replica: int = 1, **more) -> Status:
    return Status(service=service, replica=replica, name=service, state=state, **more)


def test_a_board_forgets_replicas_that_are_no_more():
    board = Board()
    for number in (3, 1, 2):
        board.publish(status("s", State.READY, number))
    assert [s.replica for s in board.of("s")] == [1, 2, 3]
    board.remove(status("s", State.DOWN, 2))
    assert [s.replica for s in board] == [1, 3]
    for number in (1, 3, 7):
        board.remove(status("s", State.DOWN, number))
    assert list(board) == []


def test_what_was_rung_before_the_wait_is_seen():
    async def main():
        bell, found = Bell(), []
        bell.ring()

        async def add():
            found.append(1)
            bell.ring()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(add)
            assert await bell.until(lambda: None, lambda: found or None) == [1]

    trio.run(main)
