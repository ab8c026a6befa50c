"""Jobs that may have ended a worker before, kept apart: one at a time, or with nothing beside it.

A suspect that cannot start at once waits here and leaves its slot to others. Some jobs are to run
*alone*: then the worker starts nothing else until it has run; what waits for a slot is handed back.
Nobody waits for ever by accident: a suspect whose turn does not come in time is *put off*, which is
no attempt, and another worker has a try. Only after some of those it waits as long as it takes.

A worker without suspects pays a comparison for each job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from naq.worker.life.deaths import PUT_OFF_LIMIT, Care

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from naq.worker.decide import Run
    from naq.worker.held import Held
    from naq.worker.slots import Slots

__all__ = ["PATIENCE", "Suspects"]

PATIENCE = 30.0
"""Seconds a suspect waits for its turn before it is put off."""


class _Turn:
    """A suspect and its wait."""

    __slots__ = ("care", "come", "held", "patient")

    def __init__(self, held: Held, care: Care, *, patient: bool) -> None:
        self.held = held
        self.care = care
        self.patient = patient
        self.come = anyio.Event()


class Suspects:
    """The suspects of one worker: the one that runs, or is next, and those behind it."""

    def __init__(
        self,
        tasks: TaskGroup,
        slots: Slots[Held],
        *,
        limit: int,
        put_off: Callable[[Held], None],
        cleared: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        """Make room for ``limit`` suspects that wait.

        Args:
            tasks: where their waits live.
            slots: where they run.
            limit: how many may wait; what comes beyond that is put off at once.
            put_off: called for a suspect that is to be tried later, or by another worker.
            cleared: called when nothing else may start any more: what waits is to be handed back.
            patience: seconds a suspect waits.
        """
        self._tasks = tasks
        self._slots = slots
        self._limit = limit
        self._put_off = put_off
        self._cleared = cleared
        self._patience = patience
        self.current: Held | None = None
        """The suspect whose turn it is."""
        self._turn: _Turn | None = None
        self._waiting: list[_Turn] = []

    def may_start(self, held: Held, run: Run) -> bool:
        """Whether a suspect may run now; if not, it waits here, and is submitted to a slot then.

        Args:
            held: a job whose slot asks.
            run: how it is to be run.
        """
        if self.current is held:
            return True
        if len(self._waiting) >= self._limit:
            self._put_off(held)
            return False
        turn = _Turn(held, run.care, patient=run.put_offs >= PUT_OFF_LIMIT)
        self._waiting.append(turn)
        if not turn.patient:
            self._tasks.start_soon(self._lose_patience, turn, name=f"naq suspect {held.id}")
        self._next()
        return False

    def left(self, held: Held) -> None:
        """Note that a slot has let go of the suspect whose turn it is: it has run, or will not."""
        if not self._slots.is_first(held):  # else its slot has only just brought it here
            self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to the next."""
        if self._turn is not None:
            self._turn.come.set()
        self._turn = self.current = None
        self._slots.reopen()
        self._next()

    def drain(self) -> list[Held]:
        """Return those that have not started, and forget them."""
        turns, self._waiting = self._waiting, []
        turn = self._turn
        if turn is not None and self._slots.withdraw(turn.held):
            turns.insert(0, turn)
            self._pass_on()
        for turn in turns:
            turn.come.set()
        return [turn.held for turn in turns]

    def _next(self) -> None:
        if self._turn is not None or not self._waiting:
            return
        self._turn = turn = self._waiting.pop(0)
        self.current = turn.held
        if turn.care is Care.ALONE:
            # A thread whose job has timed out may never return: the patient do not wait for it.
            self._slots.submit_first(turn.held, alone=True, beside_threads=turn.patient)
            self._cleared()
        else:
            self._slots.submit_first(turn.held)

    async def _lose_patience(self, turn: _Turn) -> None:
        with anyio.move_on_after(self._patience):
            await turn.come.wait()
            return
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif self._slots.withdraw(turn.held):
            self._pass_on()
        else:
            return  # a slot has it by now
        self._put_off(turn.held)
