"""What a person types: the ``naq`` command.

Commands live in the modules of this package and are imported when they run. Every error becomes
one line on stderr and an exit code here and nowhere else (docs/cli.md lists them).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from naq import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    import cyclopts

__all__ = ["main"]

# command -> where it is; the order is the order of `naq --help`.
COMMANDS = {
    "Run": {
        "up": "naq.cli.supervision:up",
        "ps": "naq.cli.supervision:ps",
        "down": "naq.cli.supervision:down",
        "worker": "naq.cli.services:worker",
    },
    "Jobs": {
        "enqueue": "naq.cli.jobs:enqueue",
        "job": "naq.cli.jobs:job",
        "cancel": "naq.cli.jobs:cancel",
    },
    "Queues": {
        "list-queues": "naq.cli.queues:list_queues",
        "pause-queue": "naq.cli.queues:pause_queue",
        "resume-queue": "naq.cli.queues:resume_queue",
        "purge": "naq.cli.queues:purge",
    },
    "Workers": {"list-workers": "naq.cli.queues:list_workers"},
    "Dead letters": {
        "list-failed": "naq.cli.deadletters:list_failed",
        "requeue": "naq.cli.deadletters:requeue",
        "delete-failed": "naq.cli.deadletters:delete_failed",
    },
}


def _app() -> cyclopts.App:
    import cyclopts

    app = cyclopts.App(
        name="naq",
        help="A job queue on NATS JetStream, and the supervisor that runs it.",
        version=__version__,
        version_flags=["--version"],
        help_flags=["--help"],
        help_on_error=False,
        print_error=False,
        exit_on_error=False,
        result_action="return_value",
    )
    for position, (title, commands) in enumerate(COMMANDS.items()):
        group = cyclopts.Group(title, sort_key=position)
        for name, where in commands.items():
            app.command(where, name=name, group=group)
    return app


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        print(f"naq {__version__}")  # noqa: T201 - what --version is for
        sys.exit(0)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    import cyclopts

    from naq.cli import render
    from naq.exceptions import NaqException

    try:
        result = _app()(arguments)
    except cyclopts.CycloptsError as exc:
        return render.usage_error(exc)
    except NaqException as exc:
        return render.error(exc, debug="debug" in arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return render.broken_pipe()
    return result if isinstance(result, int) else 0
