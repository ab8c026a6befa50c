"""What the control socket can be asked for and takes its time: waits, restarts, logs, events."""

from __future__ import annotations

import heapq
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from naq.supervisor.control.commands import crew_of
from naq.supervisor.control.protocol import Args
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.errors import Refused
from naq.supervisor.model.lifecycle import PARKED
from naq.supervisor.project.events import describe
from naq.supervisor.project.reload import prepare_reload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from naq.supervisor.control.commands import Desk
    from naq.supervisor.output.lines import Line
    from naq.supervisor.project.crew import Crew
    from naq.supervisor.project.events import Transition
    from naq.supervisor.replica.replica import Replica

    Emit = Callable[[object], None]

__all__ = ["streams"]

_GOALS = ("ready", "stopped", "completed")
_MOST_LINES = 1_000_000


def streams(
    desk: Desk,
) -> dict[str, Callable[[Mapping[str, Any], Emit], Awaitable[object]]]:
    """Return the commands of a supervisor that take their time, by name."""
    all_ = _Streams(desk)
    return {
        "wait": all_.wait,
        "stop": all_.stop,
        "restart": all_.restart,
        "scale": all_.scale,
        "reload": all_.reload,
        "logs": all_.logs,
        "events": all_.events,
    }


class _Streams:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def wait(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Wait until services are as they should be, or never will be."""
        del emit
        taken = Args(args)
        names, goal, timeout = taken.names(), taken.text("goal", "ready"), taken.seconds("timeout")
        taken.done()
        if goal not in _GOALS:
            raise Refused("bad-request", f"goal is none of {', '.join(_GOALS)}")
        crew = crew_of(self._desk)
        replicas = crew.roster.find(names) if names else [r for r in crew.roster if r.status.active]
        return await _within(timeout, partial(crew.wait, replicas, goal), replicas)

    async def stop(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Stop services, and wait until they are down."""
        del emit
        taken = Args(args)
        names, timeout = taken.names(), taken.seconds("timeout")
        now, wait = taken.flag("now"), taken.flag("wait", default=True)
        taken.done()
        crew = crew_of(self._desk)
        replicas = crew.roster.find(names)
        for replica in replicas:
            replica.stop(Cause(kind=CauseKind.OPERATOR), grace=0.0 if now else timeout)
        if not wait:
            return {}

        def down() -> bool | None:
            # Somebody may want it up again meanwhile; the newest word counts.
            return all(r.status.wanted or r.status.state in PARKED for r in replicas) or None

        await crew.project.board.wait({replica.spec.name for replica in replicas}, down)
        return {r.status.name: "was started again" for r in replicas if r.status.wanted}

    async def restart(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Restart services: one after the other within a service, services side by side."""
        taken = Args(args)
        names, timeout = taken.names(), taken.seconds("timeout")
        rolling, again = taken.flag("rolling"), taken.flag("reload")
        force, wait = taken.flag("force"), taken.flag("wait")
        parallel = taken.whole("parallel", least=1, most=100_000)
        taken.done()
        crew = crew_of(self._desk)
        if again:
            self._read_again(crew, {replica.spec.name for replica in crew.roster.find(names)})
        by_service: dict[str, list[Replica]] = {}
        for replica in crew.roster.find(names):
            by_service.setdefault(replica.spec.name, []).append(replica)
        problems: dict[str, str] = {}

        async def restart(name: str, replicas: list[Replica]) -> None:
            size = parallel or (replicas[0].spec.rolling.parallel if rolling else None)
            problems.update(await crew.restart(replicas, cause, parallel=size, force=force))
            emit({"restarted": name})

        async def restart_all() -> dict[str, str]:
            async with trio.open_nursery() as nursery:
                for name, replicas in by_service.items():
                    nursery.start_soon(restart, name, replicas)
            return problems

        cause = Cause(kind=CauseKind.OPERATOR)
        crew.prepare(replicas[0].spec for replicas in by_service.values())
        if not (wait or rolling or parallel):
            for replicas in by_service.values():
                for replica in replicas:
                    replica.restart(cause, force=force)
            return {}
        chosen = [replica for replicas in by_service.values() for replica in replicas]
        return await _within(timeout, restart_all, chosen)

    async def scale(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Change the numbers of replicas."""
        wanted = args.get("replicas")
        taken = Args({k: v for k, v in args.items() if k != "replicas"})
        wait, timeout = taken.flag("wait"), taken.seconds("timeout")
        taken.done()
        if not isinstance(wanted, dict) or not wanted:
            raise Refused("bad-request", "replicas is no table of numbers")
        numbers = {
            name: Args({"replicas": n}).whole("replicas", least=0, most=100_000) or 0
            for name, n in wanted.items()
        }
        crew = crew_of(self._desk)
        crew.roster.find(numbers)
        if bad := [name for name in numbers if name not in crew.roster.specs]:
            raise Refused("bad-request", f"{bad[0]} is a replica, not a service")

        async def scale_all() -> dict[str, str]:
            # One at a time, and not during a reload: what goes must be gone before it can come.
            async with crew.busy, trio.open_nursery() as nursery:
                for name, number in numbers.items():
                    nursery.start_soon(crew.scale, name, number)
            emit({"scaled": numbers})
            return {}

        await crew.perform(scale_all)
        if not wait:
            return {}
        replicas = crew.roster.find(numbers)
        return await _within(timeout, partial(crew.wait, replicas, "ready"), replicas)

    async def reload(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Read the file again, say what that means, and do it."""
        taken = Args(args)
        prune = taken.flag("prune", default=True)
        taken.done()
        crew = crew_of(self._desk)
        reload = prepare_reload(crew, prune=prune)
        emit({"plan": reload.plan.lines()})
        return await crew.perform(reload.run)

    async def logs(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Give lines that are kept, and those to come if asked for."""
        taken = Args(args)
        names, follow = taken.names(), taken.flag("follow")
        tail = taken.whole("tail", least=0, most=_MOST_LINES)
        since, previous = taken.seconds("since"), taken.flag("previous")
        taken.done()
        crew = crew_of(self._desk)
        everything, own = not names, not names or "naq" in names
        services = [name for name in names if name != "naq"]
        replicas = list(crew.roster) if everything else crew.roster.find(services)
        kept = [_kept(replica, previous=previous) for replica in replicas]
        if own and not previous:
            kept.append(self._desk.project.hub.own_lines())
        merged: Iterable[Line] = heapq.merge(*kept, key=lambda line: line.time)
        if since is not None:
            merged = [line for line in merged if line.time >= time.time() - since]
        lines = list(merged)
        if tail is not None:
            lines = lines[len(lines) - min(tail, len(lines)) :]
        for line in lines:
            emit(_as_event(line))
        if follow:
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

    async def events(self, args: Mapping[str, Any], emit: Emit) -> object:
        """Give what has happened, or what is and what happens from now on."""
        taken = Args(args)
        names, follow = taken.names(), taken.flag("follow")
        taken.done()
        project = self._desk.project
        if names:
            crew_of(self._desk).roster.find(names)
        services = {name.partition(".")[0] for name in names}

        def tell(transition: Transition) -> None:
            if not services or transition.status.service in services:
                emit({"transition": transition.as_dict()})

        if not follow:
            for transition in project.events.recent():
                tell(transition)
            return {}
        shown = [s for s in project.board if not services or s.service in services]
        emit({"snapshot": describe(shown, trio.current_time())})
        with project.events.following(tell):
            await trio.sleep_forever()
        return {}

    def _read_again(self, crew: Crew, services: set[str]) -> None:
        """Let services take over what the file says now, before they are restarted once."""
        prepare_reload(crew).adopt_only(services)


async def _within(
    timeout: float | None, fn: Callable[[], Awaitable[dict[str, str]]], replicas: list[Replica]
) -> dict[str, str]:
    """Return what ``fn`` does, or the state of what is not ready when time is up."""
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
