"""``naq up``: run the services of a project, in the foreground or detached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from naq.base.exits import Exit
from naq.cli import render
from naq.cli.project import options
from naq.cli.project.options import Profiles  # noqa: TC001 - read from annotations at run time
from naq.exceptions import SupervisorError

if TYPE_CHECKING:
    from naq.supervisor.config.recipe import Recipe
    from naq.supervisor.kinds.topology import Topology

__all__ = ["up"]

Flag = Annotated[bool, Parameter(negative=())]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None, Parameter(name=["--log-level", "-l"])
]


def up(
    file: Path = options.DEFAULT_FILE,
    /,
    *services: str,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative=())] = False,
    wait: Flag = False,
    timeout: options.Duration = None,
    profile: Profiles = (),
    no_deps: Flag = False,
    scale: tuple[str, ...] = (),
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    env_file: tuple[str, ...] = (),
    exit_on: str | None = None,
    dry_run: Flag = False,
    log_format: Literal["auto", "text", "json"] | None = None,
    log_level: LogLevel = None,
) -> int:
    """Run the services of FILE until they have ended or are stopped.

    Ctrl-C or SIGTERM stops them in order; a second one skips the wait, a third kills everything.
    Without a supervisor.toml, and none named: a NATS server, a worker on `default`, a scheduler
    and the dashboard.

    Args:
        file: A supervisor file.
        services: Only these and their dependencies. Default: all.
        detach: Run in the background; return once it responds. `naq logs -f` shows its output.
        wait: Detach, and return when every service is ready; 1 if one never will be.
        timeout: How long --wait may wait, such as 90s. Default: no limit.
        profile: Activate this profile, instead of those the file names.
        no_deps: Neither start the dependencies of SERVICES nor wait for them.
        scale: SERVICE=NUMBER of replicas.
        set_: KEY=VALUE to override the file, such as services.web.replicas=2.
        env_file: A further file with variables for all services.
        exit_on: When this service has ended, end with its exit code.
        dry_run: Print what would be started, and start nothing.
        log_format: Format of lines on standard output; text and json switch the status bar off.
        log_level: Level of naq's own lines. Default: as the file says.

    Returns:
        0 after an orderly stop; the exit code of a critical service; 73 already running;
        78 bad file; 130 forced.
    """
    how = options.recipe(
        file,
        services=services,
        dependencies=not no_deps,
        profiles=profile,
        env_files=tuple(str(Path(name).resolve()) for name in env_file),
        settings=_settings(scale, set_, log_format, log_level),
    )
    topology = options.read(how)
    if exit_on is not None and exit_on not in topology.services:
        raise SupervisorError(f"--exit-on: no service {exit_on!r}", exit_code=Exit.NOT_FOUND)
    if dry_run:
        return _print_order(topology)
    if detach or wait:
        from naq.supervisor.up.background import run_detached

        return run_detached(topology, wait=wait, timeout=timeout, say=render.line)
    return run(topology, how, exit_on=exit_on)


def run(topology: Topology, how: Recipe, *, exit_on: str | None = None) -> int:
    """Run a topology in this process."""
    from naq.services import KINDS
    from naq.supervisor.up.foreground import run_in_foreground

    _hear_services()
    with options.bad_file():  # a kind may find out only now that it cannot run
        return run_in_foreground(
            topology, exit_on=exit_on, reread=lambda: how.read(KINDS, topology.directory)
        )


def _hear_services() -> None:
    """Make what services on the supervisor's own loop log lines of their own."""
    import logging

    from naq.cli.common import settings
    from naq.supervisor.process.task import ServiceLog

    found = settings()

    def make_formatter() -> logging.Formatter:
        from naq.cli.logs import formatter

        return formatter(found.log_format)

    root = logging.getLogger()
    root.handlers[:] = [ServiceLog(make_formatter)]
    root.setLevel(found.log_level.upper())
    logging.getLogger("nats").setLevel(logging.ERROR)


def _settings(
    scale: tuple[str, ...],
    given: tuple[str, ...],
    log_format: str | None,
    log_level: str | None,
) -> tuple[tuple[tuple[str, ...], object], ...]:
    """Return the keys of the file that options override."""
    from naq.supervisor.config.recipe import setting

    found: list[tuple[tuple[str, ...], object]] = [setting(text) for text in given]
    for name, number in options.assignments(scale).items():
        found.append((("services", name, "replicas"), number))
    if log_format is not None:
        found.append((("logging", "format"), log_format))
    if log_level is not None:
        found.append((("logging", "level"), log_level))
    return tuple(found)


def _print_order(topology: Topology) -> int:
    """Print what would be started, in order."""
    from naq.supervisor.model import graph

    number = 0
    for layer in graph.start_layers(graph.edges(topology.services)):
        for name in layer:
            if topology.is_active(name):
                number += 1
                spec = topology.services[name]
                many = f" x{spec.replicas}" if spec.replicas != 1 else ""
                after = ", ".join(d.service for d in spec.depends_on)
                render.say(f"{number}. {name}{many}" + (f" after {after}" if after else ""))
    return 0
