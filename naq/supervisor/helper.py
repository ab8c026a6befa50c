"""Short commands beside the services: probes, hooks, what runs before a stop.

Each has a session of its own and a deadline; when that is over the whole of it is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Done", "run_helper"]

_MAX_OUTPUT = 4096  # characters of its output that anybody will read


@dataclass(frozen=True, slots=True)
class Done:
    """How a helper ended.

    Attributes:
        code: exit code, negative for a signal; None if it took too long.
        output: what it printed, stdout and stderr; the end of it.
    """

    code: int | None
    output: str = ""

    @property
    def problem(self) -> str:
        """What went wrong, in words; empty if nothing did."""
        if self.code is None:
            return "took too long and was killed"
        if self.code == 0:
            return ""
        return f"killed by signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


async def run_helper(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout: float,
    stdin: bytes = b"",
    capture: bool = False,
) -> Done:
    """Run a command to its end.

    Args:
        argv: program and arguments.
        env: its whole environment.
        cwd: where it runs.
        timeout: seconds.
        stdin: what it can read.
        capture: keep what it prints.

    Raises:
        OSError: it cannot be started.
    """
    with trio.move_on_after(timeout):
        done = await trio.run_process(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stderr=subprocess.STDOUT,
            **({"capture_stdout": True} if capture else {"stdout": subprocess.DEVNULL}),
            check=False,
            start_new_session=True,
            deliver_cancel=_kill_group,
        )
        output = done.stdout or b""
        return Done(done.returncode, output[-_MAX_OUTPUT:].decode("utf-8", "replace"))
    return Done(None)


async def _kill_group(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
