"""Commands that read a supervisor file: check, describe, draw it, run a service's command once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path  # noqa: TC003 - read from annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from naq.base.exits import Exit
from naq.cli import render
from naq.cli.project import options
from naq.cli.project.options import Json, Profiles  # noqa: TC001 - as above
from naq.exceptions import ConfigurationError, SupervisorError

if TYPE_CHECKING:
    from naq.supervisor.control.client import Client
    from naq.supervisor.kinds.topology import Topology

__all__ = ["graph", "run", "schema", "validate"]

Flag = Annotated[bool, Parameter(negative=())]


def validate(
    file: Path = options.DEFAULT_FILE,
    /,
    *,
    strict: Flag = False,
    print_: Annotated[bool, Parameter(name="--print", negative=())] = False,
    profile: Profiles = (),
    json: Json = False,
) -> int:
    """Check a supervisor file, and point out what may not do what its author expects.

    Args:
        file: A supervisor file.
        strict: Treat advice as a problem.
        print_: Print the result, with all defaults filled in, as JSON.
        profile: As if `naq up` were given this profile.
        json: Print problems and advice as JSON.

    Returns:
        0 if it can be used, 78 if not.
    """
    from naq.supervisor.config.advice import advice
    from naq.supervisor.config.show import resolved

    problems: tuple[str, ...] = ()
    found: list[str] = []
    topology = None
    try:
        topology = options.read(options.recipe(file, profiles=profile))
        found = advice(topology)
    except ConfigurationError as exc:
        problems = exc.problems
    if json:
        render.print_json({"problems": list(problems), "advice": found})
    else:
        for text in problems:
            render.line(text)
        for text in found:
            render.line(f"advice: {text}")
    if topology is not None and print_:
        render.print_json(resolved(topology))
    elif topology is not None and not json:
        count = sum(spec.replicas for spec in topology.services.values())
        render.say(f"{file}: {len(topology.services)} services, {count} replicas")
    return Exit.CONFIG if problems or (strict and found) else 0


def schema() -> int:
    """Print the JSON Schema of supervisor files, for editors."""
    from naq.services import KINDS
    from naq.supervisor.config.show import schema as describe

    render.print_json(describe(KINDS))
    return 0


def graph(
    file: Path = options.DEFAULT_FILE,
    /,
    *,
    format_: Annotated[
        Literal["ascii", "mermaid", "dot", "json"], Parameter(name=["--format", "-f"])
    ] = "ascii",
    timing: Flag = False,
) -> int:
    """Draw which service depends on which.

    Args:
        file: A supervisor file.
        format_: ascii for people, mermaid or dot for drawing programs, or json.
        timing: Also how long the last start of each took, and which chain took longest.
    """
    from naq.supervisor.config.show import chain, draw
    from naq.supervisor.control.client import connect

    topology = options.read(options.recipe(file))
    took: dict[str, float] = {}
    edges: dict[str, tuple[str, ...]] = {}
    if timing:
        with connect() as client:
            told = client.request("graph")
        took, edges = told["took_s"], {name: tuple(v) for name, v in told["edges"].items()}
    render.say(draw(topology, format_, took))
    if timing and format_ == "ascii":
        path = chain(edges, took)
        total = sum(took.get(name, 0.0) for name in path)
        render.say(f"\ncritical chain: {' -> '.join(path)} ({render.duration(total)})")
    return 0


def run(
    service: str,
    /,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    no_deps: Flag = False,
) -> int:
    """Run a command once, in the environment and the directory of a service, on this terminal.

    Args:
        service: SERVICE or SERVICE.N.
        command: What to run, after --. Default: the command of the service.
        no_deps: Do not start the service's dependencies.

    Returns:
        The command's exit code.
    """
    topology = options.read(options.recipe())
    name, _, _ = service.partition(".")
    spec = topology.services.get(name)
    if spec is None:
        known = ", ".join(topology.services)
        raise SupervisorError(f"no service {name!r}; there are: {known}", exit_code=Exit.NOT_FOUND)
    words = command or _own_command(spec.options)
    if not words:
        raise SupervisorError(
            f"type {spec.type} has no command of its own: give a command after --",
            exit_code=Exit.USAGE,
        )
    env, cwd = _environment(
        topology, service, [d.service for d in spec.depends_on], no_deps=no_deps
    )
    program = shutil.which(words[0], path=env.get("PATH"))
    if program is None:
        raise SupervisorError(f"{words[0]}: not found", exit_code=Exit.NO_COMMAND)
    sys.stdout.flush()
    os.chdir(cwd)
    os.execve(program, list(words), env)


def _own_command(options: object) -> tuple[str, ...]:
    from naq.supervisor.kinds.values import command

    written = options.get("command") if hasattr(options, "get") else None
    return () if written is None else command(written if isinstance(written, str) else [*written])


def _environment(
    topology: Topology, service: str, needed: list[str], *, no_deps: bool
) -> tuple[dict[str, str], str]:
    """Ask the supervisor for the environment of a service, its dependencies being up."""
    from naq.supervisor.control.client import connect

    try:
        with connect() as client:
            if needed and not no_deps:
                client.request("start", services=needed, profile="", dependencies=True)
                _until_ready(client, needed)
            told = client.request("environment", service=service)
        return told["env"], told["cwd"]
    except SupervisorError as exc:
        if exc.exit_code != Exit.NOT_RUNNING or (needed and not no_deps):
            raise
    return _own_environment(topology, service)


def _until_ready(client: Client, services: list[str]) -> None:
    problems = client.request("wait", patience=None, services=services, goal="ready")
    if problems:
        raise SupervisorError("; ".join(f"{name}: {text}" for name, text in problems.items()))


def _own_environment(topology: Topology, service: str) -> tuple[dict[str, str], str]:
    """Build the environment here: no supervisor runs, so no other service exports anything."""
    from naq.base.text import fill
    from naq.supervisor.kinds import environment

    name, _, number = service.partition(".")
    spec = topology.services[name]
    index = int(number) if number.isdecimal() else 1
    fields: dict[str, object] = {
        "service": name,
        "replica": index,
        "replicas": spec.replicas,
        "project": topology.name,
        "port": (spec.port or 1) + index - 1,
    }
    layers = [
        environment.read_all(topology.directory, topology.env_file),
        topology.env,
        environment.read_all(topology.directory, spec.env_file),
        spec.env,
    ]
    env = environment.build(environment.inherited(os.environ), layers, fields)
    env |= {"NAQ_SERVICE": name, "NAQ_REPLICA": str(index)}
    return env, str(topology.directory / fill(spec.cwd, fields))
