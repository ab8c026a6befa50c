"""Commands that ask a running project for something: each is one request to its supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from naq.base.exits import Exit
from naq.cli import render
from naq.cli.project.options import Duration, Json, assignments, report
from naq.cli.project.watch import ps_table
from naq.exceptions import SupervisorError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "down",
    "pause",
    "ps",
    "reload",
    "restart",
    "resume",
    "scale",
    "signal",
    "start",
    "stop",
    "wait",
]

# Seconds that `down` waits for the end of the supervisor: more than the time it gave it, or this
# long if it gave none.
_MARGIN = 15.0
_NO_DEADLINE = 3600.0

Flag = Annotated[bool, Parameter(negative=())]


def ps(
    *services: str,
    all_: Annotated[bool, Parameter(name=["--all", "-a"], negative=())] = False,
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative=())] = False,
    wide: Flag = False,
    json: Json = False,
) -> int:
    """Show the services of the project in this directory.

    Args:
        services: Only these; SERVICE or SERVICE.N. Default: all that were started.
        all_: Also those that were not started: disabled, or of another profile.
        watch: Refresh until Ctrl-C.
        wide: Also show what is wanted and what is ready.
        json: Print one JSON document.

    Returns:
        0 if all are as they should be, 1 if some are not, 3 if nothing is running here.
    """
    from naq.supervisor.control.client import connect

    if watch:
        from naq.cli.project.watch import watch_ps

        return watch_ps(services, everything=all_, wide=wide)
    with connect() as client:
        rows = client.request("ps", services=list(services), all=all_)
    if json:
        render.print_json(rows)
    else:
        columns, cells = ps_table(rows, wide=wide)
        render.table(columns, cells, empty="no services")
    return Exit.DONE if all(row["ready"] for row in rows) else Exit.FAILED


def down(*, timeout: Duration = None, now: Flag = False) -> int:
    """Stop the project in this directory, and return when it is gone.

    Args:
        timeout: How long it may take, such as 30s; what still runs then is killed. Default: as the
            file says.
        now: Kill at once whatever does not stop at once.

    Returns:
        0 when it is gone, 3 if nothing is running here.
    """
    from naq.supervisor.control.client import connect

    with connect() as client:
        pid = client.request("down", timeout=timeout, now=now)["pid"]
        with render.busy("stopping"):
            gone = client.wait_gone(_NO_DEADLINE if timeout is None else timeout + _MARGIN)
        if not gone:
            raise SupervisorError(f"still running (pid {pid}); `naq down --now` kills its services")
    return 0


def start(
    *services: str,
    profile: str = "",
    with_deps: Flag = False,
    wait: Flag = False,
    timeout: Duration = None,
) -> int:
    """Start services that are down, have failed, or are waiting for their next try.

    Args:
        services: SERVICE or SERVICE.N.
        profile: All services of this profile.
        with_deps: Also start everything they depend on.
        wait: Return when they are ready; 1 if one never will be.
        timeout: How long to wait, such as 60s. Default: no limit.
    """
    from naq.supervisor.control.client import connect

    _require(services or profile)
    with connect() as client:
        names = client.request(
            "start", services=list(services), profile=profile, dependencies=with_deps
        )
        if not wait:
            return 0
        with render.busy(f"waiting for {', '.join(names)}"):
            outcome = client.request(
                "wait", patience=None, services=names, goal="ready", **_until(timeout)
            )
    return report(outcome)


def stop(*services: str, now: Flag = False, timeout: Duration = None, no_wait: Flag = False) -> int:
    """Stop services. They stay down until they are started again.

    Args:
        services: SERVICE or SERVICE.N.
        now: Kill them.
        timeout: How long they may take, such as 30s, before they are killed. Default: as in the
            file.
        no_wait: Return without waiting until they are down.
    """
    from naq.supervisor.control.client import connect

    _require(services)
    with connect() as client, render.busy(f"stopping {', '.join(services)}"):
        outcome = client.request(
            "stop",
            patience=None,
            services=list(services),
            now=now,
            wait=not no_wait,
            **_until(timeout),
        )
    return report(outcome)


def restart(
    *services: str,
    rolling: Flag = False,
    parallel: int | None = None,
    max_unavailable: int | None = None,
    reload: Flag = False,
    force: Flag = False,
    wait: Flag = False,
    timeout: Duration = None,
) -> int:
    """Restart services.

    Args:
        services: SERVICE or SERVICE.N.
        rolling: A few replicas at a time, each ready before the next; stop at the first problem.
        parallel: How many at a time. Default: `rolling` in the file.
        max_unavailable: The same as --parallel.
        reload: Take over what the file says about them now, in the same restart.
        force: Kill them instead of asking them to stop.
        wait: Return when they are ready; exit with 1 if one is not.
        timeout: How long to wait, such as 60s. Default: no limit.
    """
    from naq.supervisor.control.client import connect

    _require(services)
    with connect() as client, render.busy(f"restarting {', '.join(services)}"):
        outcome = client.request(
            "restart",
            patience=None,
            services=list(services),
            rolling=rolling,
            reload=reload,
            force=force,
            wait=wait,
            parallel=parallel or max_unavailable,
            **_until(timeout),
        )
    return report(outcome)


def scale(*numbers: str, wait: Flag = False, timeout: Duration = None) -> int:
    """Change how many replicas run. Surplus ones, the highest first, are gone when this returns.

    Args:
        numbers: SERVICE=NUMBER; 0 stops all replicas.
        wait: Return when all are ready; 1 if one never will be.
        timeout: How long to wait, such as 60s. Default: no limit.
    """
    from naq.supervisor.control.client import connect

    _require(numbers)
    with connect() as client, render.busy(f"scaling {', '.join(numbers)}"):
        outcome = client.request(
            "scale", patience=None, replicas=assignments(numbers), wait=wait, **_until(timeout)
        )
    return report(outcome)


def reload(
    *,
    dry_run: Flag = False,
    prune: bool = True,
    json: Json = False,
) -> int:
    """Read the supervisor file again and apply what differs, restarting as little as possible.

    A file with problems changes nothing. SIGHUP does the same.

    Args:
        dry_run: Only print what would be done.
        prune: Stop services that are gone from the file.
        json: Print the plan as JSON.

    Returns:
        0 when it is done, 1 if a service did not become ready, 78 for a bad file.
    """
    from naq.supervisor.control.client import connect

    with connect() as client:
        if dry_run or json:
            plan = client.request("plan", prune=prune)
            if json:
                render.print_json(plan["changes"])
            else:
                render.say("\n".join(plan["lines"]))
            if dry_run:
                return 0
        for event in client.follow("reload", prune=prune):
            if not json:
                render.say("\n".join(event["plan"]))
        return report(client.result)


def wait(
    *services: str,
    for_: Annotated[Literal["ready", "stopped", "completed"], Parameter(name="--for")] = "ready",
    timeout: Duration = None,
) -> int:
    """Wait until services are ready, stopped or completed; 1 at once if one never will be.

    Args:
        services: SERVICE or SERVICE.N. Default: all.
        for_: What to wait for.
        timeout: How long to wait, such as 60s. Default: no limit.
    """
    from naq.supervisor.control.client import connect

    text = f"waiting until {', '.join(services) or 'all services'}: {for_}"
    with connect() as client, render.busy(text):
        outcome = client.request(
            "wait", patience=None, services=list(services), goal=for_, **_until(timeout)
        )
    return report(outcome)


def pause(*services: str) -> int:
    """Let workers take no new jobs; running ones continue.

    Args:
        services: SERVICE or SERVICE.N.
    """
    return _pause(services, on=True)


def resume(*services: str) -> int:
    """Make paused workers take jobs again.

    Args:
        services: SERVICE or SERVICE.N.
    """
    return _pause(services, on=False)


def signal(*words: str) -> int:
    """Send a signal to the processes of services.

    Args:
        words: SERVICE or SERVICE.N, one or more, and at the end the signal, such as USR1.
    """
    from naq.supervisor.control.client import connect

    if len(words) < 2:
        raise SupervisorError(
            "which service, and which signal? `naq signal web HUP`", exit_code=Exit.USAGE
        )
    with connect() as client:
        client.request("signal", services=list(words[:-1]), signal=words[-1])
    return 0


def _pause(services: Sequence[str], *, on: bool) -> int:
    from naq.supervisor.control.client import connect

    _require(services)
    with connect() as client:
        client.request("pause", services=list(services), on=on)
    return 0


def _require(services: object) -> None:
    if not services:
        raise SupervisorError("which services?", exit_code=Exit.USAGE)


def _until(timeout: float | None) -> dict[str, Any]:
    """Return the argument that lets the supervisor end the wait."""
    return {} if timeout is None else {"timeout": timeout}
