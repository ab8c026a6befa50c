"""Helpers: short programs that run beside the services."""

from __future__ import annotations

import trio
import trio.testing

from naq.supervisor.process.process import run_helper


def test_a_helper_is_killed_with_all_it_started_when_time_is_up(tmp_path):
    async def main():
        env = {"PATH": "/usr/bin:/bin"}
        quick = await run_helper(
            ["sh", "-c", "cat; echo err >&2; exit 3"],
            env=env,
            cwd=tmp_path,
            timeout=5,
            stdin=b"in ",
            capture=True,
        )
        slow = await run_helper(
            ["sh", "-c", "sleep 1000 & sleep 1000"],
            env=env,
            cwd=tmp_path,
            timeout=0.1,
            capture=True,
        )
        return quick, slow

    quick, slow = trio.run(main)
    assert (quick.code, quick.output, quick.problem) == (3, "in err\n", "exit code 3")
    assert (slow.code, slow.problem) == (None, "took too long and was killed")
