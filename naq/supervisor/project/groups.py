"""Groups: who is restarted when a member fails, in which order, and how often.

As in OTP: ``one_for_one`` restarts the member alone, ``rest_for_one`` it and the services after it,
``one_for_all`` all of them. The others are stopped in reverse order first; then all are started one
after the other, each when the one before it is ready. How often that may happen is a budget of the
group's own, for all members together.

A group holds its members: they are wanted as before, so what an operator has stopped stays down,
and a hold does not count as a failure. Members that fail together, or while the group is being
restarted, cost one restart.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from naq.supervisor.model.board import Bell
from naq.supervisor.model.lifecycle import DELAYED, PARKED, State
from naq.supervisor.model.spec import OnExhausted, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.model.board import Board, Status
    from naq.supervisor.model.spec import GroupSpec
    from naq.supervisor.project.roster import Roster
    from naq.supervisor.replica.replica import Replica

__all__ = ["GroupKeeper", "affected", "within_budget"]

# A member that is ready, or will not be for a while, lets the next one start.
_SETTLED = PARKED | DELAYED | {State.READY}


def affected(spec: GroupSpec, service: str, *, whole: bool) -> tuple[str, ...]:
    """Return the services that are restarted when ``service`` has failed, in starting order.

    Args:
        spec: the group.
        service: the member that failed.
        whole: it has escalated: restart all of them, whatever the strategy.
    """
    if whole or spec.strategy is Strategy.ONE_FOR_ALL:
        return spec.members
    if spec.strategy is Strategy.REST_FOR_ONE:
        return spec.members[spec.members.index(service) :]
    return ()


def within_budget(spec: GroupSpec, window: deque[float], now: float) -> bool:
    """Spend one restart of the group's budget; return whether there was one left.

    Args:
        spec: the group.
        window: times of earlier restarts; changed.
        now: monotonic time, seconds.
    """
    while window and now - window[0] >= spec.within:
        window.popleft()
    window.append(now)
    if spec.max_restarts and len(window) > spec.max_restarts:
        window.popleft()
        return False
    return True


class GroupKeeper:
    """Restarts the members of a group together. :meth:`run` belongs in a task."""

    def __init__(
        self,
        spec: GroupSpec,
        roster: Roster,
        board: Board,
        *,
        say: Callable[[str, str], None],
        stop_project: Callable[[Status], None],
    ) -> None:
        """Prepare a keeper.

        Args:
            spec: the group.
            roster: where its members are.
            board: where their statuses are.
            say: prints a text, with a level.
            stop_project: called with the member that failed, when the budget is spent and the
                group says that this ends the project.
        """
        self.spec = spec
        self._roster = roster
        self._board = board
        self._say = say
        self._stop_project = stop_project
        self._window: deque[float] = deque()
        self._bell = Bell()
        self._pending: dict[str, float] = {}  # service: delay before it may start
        self._held: set[Replica] = set()

    def failed(self, status: Status, delay: float, *, whole: bool) -> None:
        """Take note of a member's failure. Does not wait.

        Args:
            status: of the replica that failed and is to be restarted.
            delay: seconds before that.
            whole: the whole group is to be restarted.
        """
        services = affected(self.spec, status.service, whole=whole)
        busy = bool(self._held)
        if not busy and not within_budget(self.spec, self._window, trio.current_time()):
            self._exhausted(status)
            return
        if not services:
            return
        self._hold(status.service, [status.replica])
        for name in services:
            self._pending[name] = max(delay, self._pending.get(name, 0.0))
        self._bell.ring()

    async def run(self) -> None:
        """Restart members whenever a failure calls for it."""
        while True:
            await self._bell.until(lambda: self._pending or None)
            names = list(self._pending)
            self._say(f"group {self.spec.name} is restarted: {', '.join(names)}", "warning")
            await self._stop_members()
            await self._start_members()

    def release_all(self) -> None:
        """Release everything that is held: the group no longer exists, or the project stops."""
        self._pending.clear()
        for replica in self._held:
            replica.release()
        self._held.clear()

    async def _stop_members(self) -> None:
        """Stop in reverse order, one service after the other."""
        for name in reversed(self.spec.members):
            if name in self._pending:
                self._hold(name)
                await self._roster.until_parked([name])

    async def _start_members(self) -> None:
        """Start in order; a failure on the way begins the whole thing again."""
        delay = max(self._pending.values(), default=0.0)  # empty: all released meanwhile
        order = [name for name in self.spec.members if name in self._pending]
        self._pending.clear()
        with trio.move_on_after(delay):
            await self._bell.until(lambda: self._pending or None)
        for name in order:
            if self._pending:
                break
            self._release(name)
            await self._until_settled(name)
        self._pending.update(dict.fromkeys(order, 0.0) if self._pending else {})

    async def _until_settled(self, name: str) -> None:
        def settled() -> bool | None:
            if self._pending:
                return True
            replicas = self._roster.of(name)
            # What was just released has not moved yet: DOWN but wanted is on its way.
            return (
                all(
                    r.status.state in _SETTLED
                    and not (r.status.state is State.DOWN and r.status.wanted)
                    for r in replicas
                )
                or None
            )

        with self._board.ringing(self._bell, [name]):
            await self._bell.until(settled)

    def _hold(self, name: str, numbers: list[int] | None = None) -> None:
        for replica in self._roster.of(name):
            if numbers is None or replica.status.replica in numbers:
                self._held.add(replica)
                replica.hold()

    def _release(self, name: str) -> None:
        for replica in self._roster.of(name):
            self._held.discard(replica)
            replica.release()

    def _exhausted(self, status: Status) -> None:
        spec = self.spec
        why = f"group {spec.name}: more than {spec.max_restarts} restarts within {spec.within:g} s"
        match spec.on_exhausted:
            case OnExhausted.FAIL:
                self._say(f"{why}: it has failed", "error")
                for name in spec.members:
                    for replica in self._roster.of(name):
                        replica.condemn(f"its group {spec.name} has failed")
            case OnExhausted.SHUTDOWN:
                self._say(f"{why}: stopping", "error")
                self._stop_project(status)
            case _:
                self._say(f"{why}: members are restarted one by one", "error")
