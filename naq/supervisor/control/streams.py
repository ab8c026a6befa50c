"""The commands of the control socket that take their time: waits, restarts, logs, events."""

from __future__ import annotations

import heapq
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from naq.supervisor.control import arguments
from naq.supervisor.control.arguments import checked
from naq.supervisor.control.commands import crew_of
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.errors import Refused
from naq.supervisor.model.lifecycle import PARKED
from naq.supervisor.project.events import describe
from naq.supervisor.project.reload import prepare_reload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from naq.supervisor.control.commands import Desk
    from naq.supervisor.output.lines import Line
    from naq.supervisor.project.events import Transition
    from naq.supervisor.replica.replica import Replica

    Emit = Callable[[object], None]

__all__ = ["streams"]


def streams(
    desk: Desk,
) -> dict[str, Callable[[Mapping[str, Any], Emit], Awaitable[object]]]:
    """Return the commands of a supervisor that take their time, by name."""
    known = _Streams(desk)
    return {
        "wait": checked(arguments.Wait, known.wait),
        "stop": checked(arguments.Stop, known.stop),
        "restart": checked(arguments.Restart, known.restart),
        "scale": checked(arguments.Scale, known.scale),
        "reload": checked(arguments.Reload, known.reload),
        "logs": checked(arguments.Logs, known.logs),
        "events": checked(arguments.Events, known.events),
    }


class _Streams:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def wait(self, asked: arguments.Wait, _emit: Emit) -> object:
        """Wait until services are as they should be, or never will be."""
        crew = crew_of(self._desk)
        names = asked.services
        replicas = crew.roster.find(names) if names else [r for r in crew.roster if r.status.active]
        return await _within(asked.timeout, partial(crew.wait, replicas, asked.goal), replicas)

    async def stop(self, asked: arguments.Stop, _emit: Emit) -> object:
        """Stop services, and wait until they are down."""
        crew = crew_of(self._desk)
        replicas = crew.roster.find(asked.services)
        grace = 0.0 if asked.now else asked.timeout
        for replica in replicas:
            replica.stop(Cause(kind=CauseKind.OPERATOR), grace=grace)
        if not asked.wait:
            return {}

        def down() -> bool | None:
            # Somebody may start it again meanwhile; the latest request counts.
            return all(r.status.wanted or r.status.state in PARKED for r in replicas) or None

        await crew.project.board.wait({replica.spec.name for replica in replicas}, down)
        return {r.status.name: "was started again" for r in replicas if r.status.wanted}

    async def restart(self, asked: arguments.Restart, emit: Emit) -> object:
        """Restart services: one after the other within a service, services side by side."""
        crew = crew_of(self._desk)
        if asked.reload:
            # They take over what the file says now, and are restarted once.
            names = {replica.spec.name for replica in crew.roster.find(asked.services)}
            prepare_reload(crew).adopt_only(names)
        chosen = crew.roster.find(asked.services)
        by_service: dict[str, list[Replica]] = {}
        for replica in chosen:
            by_service.setdefault(replica.spec.name, []).append(replica)
        crew.prepare(replicas[0].spec for replicas in by_service.values())
        cause = Cause(kind=CauseKind.OPERATOR)
        if not (asked.wait or asked.rolling or asked.parallel):
            for replica in chosen:
                replica.restart(cause, force=asked.force)
            return {}
        problems: dict[str, str] = {}

        async def restart(name: str, replicas: list[Replica]) -> None:
            rolling = replicas[0].spec.rolling.parallel if asked.rolling else None
            size = asked.parallel or rolling
            problems.update(await crew.restart(replicas, cause, parallel=size, force=asked.force))
            emit({"restarted": name})

        async def restart_all() -> dict[str, str]:
            async with trio.open_nursery() as nursery:
                for name, replicas in by_service.items():
                    nursery.start_soon(restart, name, replicas)
            return problems

        return await _within(asked.timeout, restart_all, chosen)

    async def scale(self, asked: arguments.Scale, emit: Emit) -> object:
        """Change the numbers of replicas."""
        numbers = asked.replicas
        crew = crew_of(self._desk)
        crew.roster.find(numbers)
        if bad := [name for name in numbers if name not in crew.roster.specs]:
            raise Refused("bad-request", f"{bad[0]} is a replica, not a service")

        async def scale_all() -> dict[str, str]:
            # One at a time, and not during a reload: a replica must be gone before it can come
            # back.
            async with crew.busy, trio.open_nursery() as nursery:
                for name, number in numbers.items():
                    nursery.start_soon(crew.scale, name, number)
            emit({"scaled": numbers})
            return {}

        await crew.perform(scale_all)
        if not asked.wait:
            return {}
        replicas = crew.roster.find(numbers)
        return await _within(asked.timeout, partial(crew.wait, replicas, "ready"), replicas)

    async def reload(self, asked: arguments.Reload, emit: Emit) -> object:
        """Read the file again, emit the plan, and carry it out."""
        crew = crew_of(self._desk)
        reload = prepare_reload(crew, prune=asked.prune)
        emit({"plan": reload.plan.lines()})
        return await crew.perform(reload.run)

    async def logs(self, asked: arguments.Logs, emit: Emit) -> object:
        """Emit the lines that are kept, and those to come if asked for."""
        crew = crew_of(self._desk)
        names = asked.services
        everything, own = not names, not names or "naq" in names
        services = [name for name in names if name != "naq"]
        replicas = list(crew.roster) if everything else crew.roster.find(services)
        kept = [_kept(replica, previous=asked.previous) for replica in replicas]
        if own and not asked.previous:
            kept.append(self._desk.project.hub.own_lines())
        lines = list(heapq.merge(*kept, key=lambda line: line.time))
        if asked.since is not None:
            oldest = time.time() - asked.since
            lines = [line for line in lines if line.time >= oldest]
        if asked.tail is not None:
            lines = lines[len(lines) - min(asked.tail, len(lines)) :]
        for line in lines:
            emit(_as_event(line))
        if asked.follow:
            wanted = {(r.spec.name, r.status.replica) for r in replicas}
            await self._follow_lines(emit, wanted, everything=everything, own=own)
        return {}

    async def _follow_lines(
        self, emit: Emit, wanted: set[tuple[str, int]], *, everything: bool, own: bool
    ) -> None:
        class Sink:
            def put(self, lines: Sequence[Line]) -> None:
                for line in lines:
                    key = (line.service, line.replica or 1)
                    if everything or key in wanted or (own and line.service == "naq"):
                        emit(_as_event(line))

        sink = Sink()
        self._desk.project.hub.attach(sink)
        try:
            await trio.sleep_forever()
        finally:
            self._desk.project.hub.detach(sink)

    async def events(self, asked: arguments.Events, emit: Emit) -> object:
        """Emit what has happened; or the present state, and then what happens."""
        project = self._desk.project
        if asked.services:
            crew_of(self._desk).roster.find(asked.services)
        services = {name.partition(".")[0] for name in asked.services}

        def tell(transition: Transition) -> None:
            if not services or transition.status.service in services:
                emit({"transition": transition.as_dict()})

        if not asked.follow:
            for transition in project.events.recent():
                tell(transition)
            return {}
        shown = [s for s in project.board if not services or s.service in services]
        emit({"snapshot": describe(shown, trio.current_time())})
        with project.events.following(tell):
            await trio.sleep_forever()
        return {}


async def _within(
    timeout: float | None, fn: Callable[[], Awaitable[dict[str, str]]], replicas: list[Replica]
) -> dict[str, str]:
    """Return what ``fn`` returns, or the state of what is not ready when the time is up."""
    if timeout is None:
        return await fn()
    with trio.move_on_after(timeout):
        return await fn()
    late = [r.status for r in replicas if not r.status.satisfied]
    problems = {s.name: f"{s.state} after {timeout:g} s" for s in late}
    return problems or {"": f"not done after {timeout:g} s"}


def _kept(replica: Replica, *, previous: bool) -> Sequence[Line]:
    lines = replica.lines()
    if not previous:
        return lines
    runs = replica.status.runs
    earlier = {line.run for line in lines if line.run < runs}
    return [line for line in lines if earlier and line.run == max(earlier)]


def _as_event(line: Line) -> list[object]:
    return [line.time, line.service, line.replica, line.text, line.level, line.run]
