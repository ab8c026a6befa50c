"""``[schedules.NAME]`` of supervisor.toml: recurring jobs that belong to the file.

The table becomes one service. It applies the definitions when it starts, which is on ``naq up``
and, when something in the table has changed, on ``naq reload``; then it only waits. A mark in the
run directory remembers that it has applied some: when the table is gone from the file, the service
runs once more, and removes what it had made.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from naq.exceptions import ConfigurationError
from naq.jobs.calls import OPTIONS
from naq.jobs.calls import normalize as normalize_job
from naq.schedules.options import LEAST_INTERVAL, MISFIRES, OVERLAPS, SCHEDULE_OPTIONS, normalize
from naq.schedules.schedule import check_schedule_id
from naq.services.values import FUNCTION, QUEUE
from naq.supervisor.kinds.kind import Kind
from naq.supervisor.kinds.schema import Choice, EachKey, Key, ListOf, Scalar, Table
from naq.supervisor.kinds.values import DURATION, TEXT, whole
from naq.supervisor.model.rundir import RunDir
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from naq.jobs.calls import Policy
    from naq.nats.connection import Connection
    from naq.schedules.declared import Applied, Declaration
    from naq.supervisor.kinds.kind import ReplicaContext, TaskStatus

__all__ = ["SchedulesKind"]

MARK = "schedules"
"""A file in the run directory: there may be schedules of this project on the server."""
PATIENCE = 5.0
"""Seconds without a server until a line says so."""


def _as_is(value: object) -> object:
    return value


_ANY = Scalar(_as_is, {})
_MOMENT = Scalar(_as_is, {"description": "a TOML date-time with an offset"})
_MANY = Scalar(whole(1, 1_000_000_000), {"type": "integer", "minimum": 1})
_SCHEDULE = Table(
    {
        "function": Key(
            type=FUNCTION,
            doc="what runs, as package.module:function",
        ),
        "args": Key(type=ListOf(_ANY), default=(), doc="its positional arguments"),
        "kwargs": Key(type=EachKey(_ANY), doc="its keyword arguments"),
        "queue": Key(type=QUEUE, doc="queue; default: NAQ_DEFAULT_QUEUE"),
        "cron": Key(type=TEXT, doc="minute hour day month weekday, or with seconds in front"),
        "interval": Key(type=DURATION, doc=f"time between two runs, at least {LEAST_INTERVAL:g} s"),
        "timezone": Key(type=TEXT, doc="IANA zone that cron is meant in; default: UTC"),
        "repeat": Key(type=_MANY, doc="how many runs"),
        "start": Key(type=_MOMENT, doc="nothing is due before"),
        "end": Key(type=_MOMENT, doc="nothing is due after"),
        "jitter": Key(type=DURATION, doc="each run begins up to this much later"),
        "misfire": Key(type=Choice(*MISFIRES), doc="what happens to runs that nobody could start"),
        "misfire_grace": Key(type=DURATION, doc="a run this late is still in time; default: 10s"),
        "misfire_cap": Key(type=_MANY, doc="at most this many misfires are run; default: 100"),
        "overlap": Key(type=Choice(*OVERLAPS), doc="what to do when the last run has not ended"),
        "max_retries": Key(type=Scalar(whole(0, 100_000), {"type": "integer"}), doc="of a run"),
        "retry_delay": Key(type=DURATION, doc="before a run is tried again"),
        "retry_strategy": Key(
            type=Choice("constant", "linear", "exponential"), doc="how that delay grows"
        ),
        "timeout": Key(type=DURATION, doc="how long a run may take"),
        "expires": Key(type=DURATION, doc="how long after its due time a run may still begin"),
        "result_ttl": Key(type=DURATION, doc="how long results are kept"),
    }
)


class SchedulesKind(Kind):
    """``[schedules]``: the service that applies the table."""

    name: ClassVar[str] = "schedules"
    runs: ClassVar[tuple[Run, ...]] = (Run.TASK,)
    table: ClassVar[str] = "schedules"
    table_type: ClassVar[EachKey] = EachKey(_SCHEDULE)
    keys: ClassVar[Mapping[str, Key]] = {
        "entries": Key(type=_ANY, default=MappingProxyType({}), doc="the table"),
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify", "start_timeout": "10m"}

    @classmethod
    def check_table(cls, entries: Mapping[str, Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
        """Yield contradictions between keys, and what is wrong with expressions and time zones."""
        for schedule_id, entry in entries.items():
            if not entry["function"]:
                yield schedule_id, "function: missing: what is to be run?"
            try:
                check_schedule_id(schedule_id)
                normalize(_given(entry, SCHEDULE_OPTIONS), now=0.0)
                normalize_job(_given(entry, OPTIONS), due=0.0)
            except ConfigurationError as exc:
                for problem in exc.problems:
                    yield schedule_id, problem

    @classmethod
    def imply(
        cls, entries: Any, services: Mapping[str, Any], directory: Path
    ) -> Mapping[str, Any] | None:
        """Return the service; None if there is nothing to apply and nothing to remove."""
        if not entries and not (RunDir.of(directory).path / MARK).exists():
            return None
        servers = [
            name
            for name, table in services.items()
            if isinstance(table, dict)
            and table.get("type") == "nats"
            and not (table.get("profiles") or table.get("disabled") or name.startswith("x-"))
        ]
        return {"type": cls.name, "entries": entries, "depends_on": servers}

    async def run(self, replica: ReplicaContext, *, task_status: TaskStatus) -> None:
        """Apply the table as soon as there is a server, then wait."""
        import trio

        entries = replica.service.options["entries"]
        mark = replica.project.run_dir / MARK
        if entries:
            mark.touch(mode=0o600)
        applied = await _apply_patiently(replica, entries)
        for text in _summary(applied):
            replica.say(text)
        if not entries:
            mark.unlink(missing_ok=True)
        task_status.started()
        await trio.sleep_forever()


def _given(entry: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: entry[name] for name in names if entry.get(name) is not None}


def _declared(
    entries: Mapping[str, Mapping[str, Any]], policies: Mapping[str, Policy]
) -> dict[str, Declaration]:
    """Return what the table declares; its own options win over those of the tasks."""
    from naq.jobs.calls import NO_POLICY, Call
    from naq.schedules.declared import Declaration

    found = {}
    for schedule_id, entry in entries.items():
        function, args, kwargs = entry["function"], tuple(entry["args"]), entry["kwargs"] or {}
        own = _given(entry, OPTIONS)
        bound = Call(function, args, dict(kwargs), own, policies.get(function, NO_POLICY))
        found[schedule_id] = Declaration(bound, entry["queue"], _given(entry, SCHEDULE_OPTIONS))
    return found


async def _apply_patiently(
    replica: ReplicaContext, entries: Mapping[str, Mapping[str, Any]]
) -> Applied:
    """Apply the table; without a server, try until there is one."""
    import trio

    from naq.base import backoff
    from naq.exceptions import NaqConnectionError
    from naq.nats.connection import connect
    from naq.services.policies import ask
    from naq.settings import Settings

    settings = Settings.from_env(replica.env)
    policies = await ask(replica, (entry["function"] for entry in entries.values()))
    declared = _declared(entries, policies)
    attempt, said, began = 0, False, trio.current_time()
    while True:
        try:
            async with connect(settings=settings, name="naq schedules") as connection:
                return await _apply(connection, replica, declared)
        except NaqConnectionError as exc:
            problem = str(exc)
        if not said and trio.current_time() - began > PATIENCE:
            replica.say(f"waiting for the server: {problem}")
            said = True
        await trio.sleep(backoff.exponential(attempt, initial=0.2, maximum=5.0, jitter=0.3))
        attempt += 1


async def _apply(
    connection: Connection, replica: ReplicaContext, declared: Mapping[str, Declaration]
) -> Applied:
    from naq.schedules.declared import apply

    source = f"project {replica.project.name}"
    return await apply(connection, declared, source=source, prune=True)


def _summary(applied: Applied) -> Iterable[str]:
    """Yield lines about what has changed, and what could not be applied."""
    for what in ("made", "changed", "removed"):
        if names := getattr(applied, what):
            yield f"{what}: {', '.join(names)}"
    for schedule_id, problem in applied.problems.items():
        yield f"{schedule_id}: {problem}"
