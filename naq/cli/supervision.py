"""``naq up``, ``naq ps``, ``naq down``: run the services of a project, look at them, stop them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from naq.cli import render
from naq.exceptions import ConfigurationError, SupervisorError

if TYPE_CHECKING:
    from naq.supervisor.spec import Topology

__all__ = ["down", "ps", "up"]

_DEFAULT_FILE = Path("supervisor.toml")
# How long `down` waits beyond the deadline it gave to the supervisor, seconds.
_MARGIN = 15.0
_NO_DEADLINE = 3600.0

LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None, Parameter(name=["--log-level", "-l"])
]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def up(file: Path = _DEFAULT_FILE, /, *services: str, log_level: LogLevel = None) -> int:
    """Run the services of FILE in the foreground until they are done or stopped.

    Ctrl-C or SIGTERM stops them in order; a second one skips the grace, a third kills everything.
    Where there is no supervisor.toml and none is named: a NATS server and a worker on `default`.

    Args:
        file: A supervisor file.
        services: Only these, and what they depend on. Default: all.
        log_level: Of naq's own lines. Default: as the file says.

    Returns:
        0 after an orderly stop; the exit code of a critical service; 73 already running;
        78 bad file; 130 forced.
    """
    from naq.services import KINDS

    try:
        topology = _topology(file, services)
        if log_level is not None:
            logging = replace(topology.logging, level=log_level)
            topology = replace(topology, logging=logging)
        from naq.supervisor.foreground import run_in_foreground  # not before the file is good

        return run_in_foreground(topology, kinds=KINDS)
    except ConfigurationError as exc:
        render.error(exc)
        return render.EX_CONFIG


def ps(*services: str, json: Json = False) -> int:
    """Show the services of the project in this directory.

    Args:
        services: Only these. Default: all.
        json: Print one JSON document.

    Returns:
        0 if all are as they should be, 1 if some are not, 3 if nothing runs here.
    """
    from naq.supervisor.client import connect

    with connect() as client:
        rows = client.request("ps", services=list(services))
    if json:
        render.print_json(rows)
    else:
        columns = ["NAME", "STATE", "PID", "RESTARTS", "UPTIME", "RSS", "CPU", "LAST EXIT"]
        render.table(columns, [_cells(row) for row in rows], empty="no services")
    return 0 if all(row["ready"] for row in rows) else 1


def down(
    *,
    timeout: Annotated[float | None, Parameter(name=["--timeout", "-t"])] = None,
    now: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Stop the project in this directory, and return when it is gone.

    Args:
        timeout: Seconds it may take; what runs then is killed. Default: as the file says.
        now: Kill at once what does not stop at once.

    Returns:
        0 when it is gone, 3 if nothing runs here.
    """
    from naq.supervisor.client import connect

    if timeout is not None and timeout < 0:
        raise SupervisorError(f"--timeout cannot be {timeout}", exit_code=render.EX_USAGE)
    with connect() as client:
        pid = client.request("down", timeout=timeout, now=now)["pid"]
        if not client.wait_gone(_NO_DEADLINE if timeout is None else timeout + _MARGIN):
            raise SupervisorError(f"still running (pid {pid}); `naq down --now` kills its services")
    return 0


def _topology(file: Path, services: tuple[str, ...]) -> Topology:
    from naq.services import DEFAULT_TOPOLOGY, KINDS
    from naq.supervisor import config

    if file == _DEFAULT_FILE and not file.exists():
        topology = config.parse(
            DEFAULT_TOPOLOGY, kinds=KINDS, directory=Path.cwd(), file="built-in topology"
        )
    else:
        topology = config.load(file, KINDS)
    return config.select(topology, services)


def _cells(row: dict[str, Any]) -> list[object]:
    state = row["state"]
    if row["want"] == "DOWN" and state != "DOWN":
        state += " (want DOWN)"
    if row["detail"]:
        state += f": {row['detail']}"
    uptime, rss, cpu = row["uptime_s"], row["rss_bytes"], row["cpu_percent"]
    return [
        row["name"],
        state,
        row["pid"],
        row["restarts"],
        None if uptime is None else render.duration(uptime),
        None if rss is None else f"{rss / 2**20:.1f}M",
        None if cpu is None else f"{cpu:.1f}%",
        row["last_exit"] and row["last_exit"]["message"],
    ]
