"""What may be done from a page or through the API; each is logged with who did it, and to what.

An action is given values whose types have been checked, whichever way they came: ``api.parameters``
says what they are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from naq.base.names import check_job_id, check_queue
from naq.exceptions import ConfigurationError, JobNotFoundError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.inspect.info import cancel_job
from naq.queue import admin, delayed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from naq.dashboard.state import State
    from naq.nats.connection import Connection

    Action = Callable[[State, str, Mapping[str, Any]], Awaitable[str]]
    """Does something to what has that name, with further values; returns what was done."""

__all__ = ["ACTIONS", "MOST", "act", "bulk"]

log = logging.getLogger("naq.dashboard")

MOST = 1_000
"""Dead letters in one bulk action, at most."""


def _connection(state: State) -> Connection:
    return state.link.here()[0]


async def _pause_queue(state: State, name: str, _: Mapping[str, Any]) -> str:
    await admin.pause(_connection(state), check_queue(name))
    return f"queue {name} is paused"


async def _resume_queue(state: State, name: str, _: Mapping[str, Any]) -> str:
    await admin.resume(_connection(state), check_queue(name))
    return f"queue {name} is resumed"


async def _purge_queue(state: State, name: str, _: Mapping[str, Any]) -> str:
    removed = await admin.purge(_connection(state), check_queue(name))
    return f"{removed} job{'' if removed == 1 else 's'} of queue {name} removed"


async def _delete_queue(state: State, name: str, _: Mapping[str, Any]) -> str:
    gone = await admin.delete(_connection(state), check_queue(name))
    jobs, dead = "" if gone.jobs == 1 else "s", "" if gone.dead == 1 else "s"
    return f"queue {name} is deleted with {gone.jobs} job{jobs} and {gone.dead} dead letter{dead}"


async def _cancel_job(state: State, name: str, _: Mapping[str, Any]) -> str:
    cancelled = await cancel_job(_connection(state), check_job_id(name))
    return f"job {name} is cancelled" if cancelled else f"job {name} had already ended"


async def _requeue(state: State, name: str, _: Mapping[str, Any]) -> str:
    await DeadLetters(_connection(state)).requeue(check_job_id(name))
    return f"job {name} is queued again"


async def _delete(state: State, name: str, _: Mapping[str, Any]) -> str:
    await DeadLetters(_connection(state)).delete(check_job_id(name))
    return f"the dead letter of job {name} is deleted"


def _schedule(action: delayed.Action) -> Action:
    async def do(state: State, name: str, _: Mapping[str, Any]) -> str:
        return _said(await delayed.control(_connection(state), name, action))

    return do


def _said(done: delayed.Controlled) -> str:
    if not done.run:
        return f"{done.kind} {done.id} is {done.status}"
    return f"{done.kind} {done.id} runs now" + (f" as {done.run}" if done.run != done.id else "")


async def _reschedule(state: State, name: str, changes: Mapping[str, Any]) -> str:
    return _said(await delayed.control(_connection(state), name, "reschedule", **changes))


def _service(command: str, became: str) -> Action:
    async def do(state: State, name: str, _: Mapping[str, Any]) -> str:
        await state.services.ask(command, services=[name])
        return f"{name} is {became}"

    return do


async def _scale(state: State, name: str, fields: Mapping[str, Any]) -> str:
    replicas = fields["replicas"]
    await state.services.ask("scale", replicas={name: replicas})
    return f"{name} has {replicas} replica{'' if replicas == 1 else 's'}"


ACTIONS: dict[tuple[str, str], Action] = {
    ("queues", "pause"): _pause_queue,
    ("queues", "resume"): _resume_queue,
    ("queues", "purge"): _purge_queue,
    ("queues", "delete"): _delete_queue,
    ("jobs", "cancel"): _cancel_job,
    ("dead", "requeue"): _requeue,
    ("dead", "delete"): _delete,
    ("schedules", "pause"): _schedule("pause"),
    ("schedules", "resume"): _schedule("resume"),
    ("schedules", "cancel"): _schedule("cancel"),
    ("schedules", "run-now"): _schedule("run-now"),
    ("schedules", "reschedule"): _reschedule,
    ("services", "start"): _service("start", "started"),
    ("services", "stop"): _service("stop", "stopped"),
    ("services", "restart"): _service("restart", "restarted"),
    ("services", "scale"): _scale,
}


async def act(state: State, who: str, what: tuple[str, str, str], fields: Mapping[str, Any]) -> str:
    """Do something; return what was done, for people.

    Args:
        state: of the dashboard.
        who: does it, for the log.
        what: the kind of thing (``queues``, ``jobs``, ``dead``, ``schedules``, ``services``), which
            one, and what to do to it.
        fields: further values.

    Raises:
        KeyError: there is no such action.
        NaqException: it cannot be done.
    """
    kind, name, verb = what
    done = await ACTIONS[kind, verb](state, name, fields)
    log.info("%s: %s %s %s: %s", who, kind, name, verb, done)
    state.changes.ring()
    return done


async def bulk(state: State, who: str, verb: str, ids: list[str]) -> str:
    """Requeue or delete several dead letters, skipping those that have meanwhile gone.

    Raises:
        ConfigurationError: there is no such action, or there are too many at once.
        NaqException: it cannot be done.
    """
    if verb not in {"requeue", "delete"}:
        raise ConfigurationError(f"action={verb!r}: must be requeue or delete")
    if len(ids) > MOST:
        raise ConfigurationError(f"at most {MOST} at once")
    done = 0
    for job_id in ids:
        try:
            await ACTIONS["dead", verb](state, job_id, {})
        except JobNotFoundError:
            continue
        done += 1
    log.info("%s: dead letters %s: %d of %d: %s", who, verb, done, len(ids), " ".join(ids[:20]))
    state.changes.ring()
    one = done == 1
    became = "queued again" if verb == "requeue" else "deleted"
    return f"{done} dead letter{'' if one else 's'} {'is' if one else 'are'} {became}"
