"""What a person types: the ``naq`` command.

This file has the table of commands, each of which is imported only when it runs. The rest::

    boundary  what becomes of every error: lines on stderr, and an exit code
    serve     the programs that serve: worker, scheduler, dashboard
    queue/    the commands that talk to the server
    project/  the commands about a supervisor.toml and what it runs
    consent   what a command that destroys asks first
    common    what commands share: options, durations, a connection
    logs      how programs that serve log
    render    what a person reads: tables, JSON, lines
    visible   text of others made safe to show
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from naq.base.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    import cyclopts

__all__ = ["main"]

# Commands by group: the name, where the function is, and what `naq --help` says about it without
# importing it. The order here is the order there.
COMMANDS = {
    "Run": [
        ("up", "project.up:up", "Run the services of a supervisor.toml."),
        ("ps", "project.services:ps", "Show the services that are running here."),
        ("down", "project.services:down", "Stop all of them, in order."),
        ("worker", "serve:worker", "Run the jobs of queues."),
        ("scheduler", "serve:scheduler", "Run schedules that need more than the server does."),
        ("dashboard", "serve:dashboard", "Serve the dashboard."),
    ],
    "Services of a running project": [
        ("logs", "project.watch:logs", "Show what services have printed."),
        ("start", "project.services:start", "Start services."),
        ("stop", "project.services:stop", "Stop services."),
        ("restart", "project.services:restart", "Restart services, all at once or one by one."),
        ("scale", "project.services:scale", "Change how many replicas run."),
        ("reload", "project.services:reload", "Apply what has changed in the file."),
        ("wait", "project.services:wait", "Wait until services are ready, stopped or completed."),
        ("pause", "project.services:pause", "Make workers take no new jobs."),
        ("resume", "project.services:resume", "Let workers take jobs again."),
        ("signal", "project.services:signal", "Send a signal to the processes of services."),
        ("events", "project.watch:events", "Show what has happened to services."),
        ("run", "project.file:run", "Run a command in the environment of a service."),
    ],
    "Supervisor file": [
        ("validate", "project.file:validate", "Check a supervisor file."),
        ("graph", "project.file:graph", "Draw which service depends on which."),
        ("schema", "project.file:schema", "Print the JSON Schema of such files, for editors."),
    ],
    "Jobs": [
        ("enqueue", "queue.jobs:enqueue", "Put a call into a queue."),
        ("job", "queue.jobs:job", "Show a job, with its result or traceback."),
        ("cancel", "queue.jobs:cancel", "Cancel a job."),
        ("forget", "queue.jobs:forget", "Free the id of a job that has ended."),
    ],
    "Schedules": [
        ("schedule", "queue.schedules:schedule", "Run a call again and again."),
        ("list-scheduled", "queue.schedules:list_scheduled", "Show schedules and delayed jobs."),
        (
            "job-control",
            "queue.schedules:job_control",
            "Cancel, pause, resume or reschedule one, or run it now.",
        ),
    ],
    "Queues and workers": [
        ("list-queues", "queue.queues:list_queues", "Show all queues and how many jobs they hold."),
        ("pause-queue", "queue.queues:pause_queue", "Hold back the jobs of a queue."),
        ("resume-queue", "queue.queues:resume_queue", "Let workers take them again."),
        ("purge", "queue.queues:purge", "Remove all queued and delayed jobs of queues."),
        ("delete-queue", "queue.queues:delete_queue", "Delete queues and all that is in them."),
        (
            "list-workers",
            "queue.queues:list_workers",
            "Show all workers and what they are running.",
        ),
        ("topology", "queue.topology:topology", "Show naq's streams, and make them as asked for."),
        ("metrics", "queue.queues:metrics", "Print all numbers in the format of Prometheus."),
    ],
    "Dead letters": [
        (
            "list-failed",
            "queue.deadletters:list_failed",
            "Show dead letters: jobs that will not be tried again.",
        ),
        ("requeue", "queue.deadletters:requeue", "Put dead letters back into their queues."),
        ("delete-failed", "queue.deadletters:delete_failed", "Delete dead letters for good."),
    ],
}


def _app() -> cyclopts.App:
    import cyclopts

    app = cyclopts.App(
        name="naq",
        help="A job queue on NATS JetStream, and the supervisor that runs it.",
        version=f"naq {__version__}",
        version_flags=["--version"],
        help_flags=["--help"],
        help_on_error=False,
        default_parameter=cyclopts.Parameter(negative_iterable=()),  # no --empty-import
    )
    for position, (title, commands) in enumerate(COMMANDS.items()):
        group = cyclopts.Group(title, sort_key=position)
        for order, (name, where, text) in enumerate(commands):
            app.command(f"naq.cli.{where}", name=name, group=group, help=text, sort_key=order)
    return app


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_version() if arguments == ["--version"] else _run(arguments))


def _version() -> int:
    """Print the version, without importing what commands need."""
    try:
        print(f"naq {__version__}", flush=True)  # noqa: T201 - what --version is for
    except OSError as exc:
        from naq.cli.boundary import ended

        return ended(exc)
    return 0


def _run(arguments: list[str]) -> int:
    from naq.cli.boundary import run

    return run(_app(), arguments)
