"""The exit codes of the ``naq`` command: one table for everything that ends a process.

Most are those of sysexits.h, so that systemd and shell scripts know them. docs/cli.md lists them
for users; a test compares the two.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Exit"]


class Exit(IntEnum):
    """What a command ends with."""

    DONE = 0
    FAILED = 1
    """What was asked about failed: a job, a service, a wait."""
    USAGE = 2
    """The command line is wrong."""
    NOT_RUNNING = 3
    """No supervisor runs in this directory."""
    NOT_FOUND = 66
    """There is no such job, queue, dead letter, service or profile."""
    UNAVAILABLE = 69
    """The NATS server cannot be reached."""
    INTERNAL = 70
    """A fault in naq."""
    ALREADY_RUNNING = 73
    """A supervisor already runs in this directory."""
    OUTPUT = 74
    """The output cannot be written: a full disk."""
    CONFIG = 78
    """A supervisor file or the environment is wrong."""
    NO_COMMAND = 127
    """The command that ``naq run`` was given does not exist."""
    FORCED = 130
    """Stopped by the user without waiting: a second or third Ctrl-C."""
    BROKEN_PIPE = 141
    """Whoever read the output has gone, as `head` does: 128 and the number of SIGPIPE."""
