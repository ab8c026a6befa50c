"""What tasks say of their jobs, asked where their modules can be imported: in a process of its own.

``[schedules]`` names functions. What their tasks declare stands in the project's modules, which the
supervisor must not import: it lives on when they change. So this module is run as a program, in the
environment of the service, with the names as arguments; it prints what it has found.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from naq.base.imports import PYTHON, let_import
from naq.exceptions import ConfigurationError
from naq.jobs.calls import NO_POLICY, Policy, normalize, policy_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.supervisor.kinds.kind import ReplicaContext

__all__ = ["ask"]


async def ask(replica: ReplicaContext, functions: Iterable[str]) -> dict[str, Policy]:
    """Return what the tasks of these names declare, as far as they can be imported.

    Args:
        replica: whose directory and environment count; it says what has gone wrong.
        functions: names, as ``module:function``.
    """
    import trio

    names = sorted(set(functions))
    if not names:
        return {}
    done = await trio.run_process(
        [*PYTHON, "-m", "naq.services.policies", *names],
        cwd=replica.cwd,
        env=dict(replica.env),
        stdin=subprocess.DEVNULL,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    for line in done.stderr.decode("utf-8", "replace").splitlines():
        replica.say(line)
    try:
        found = _decode(done.stdout)
    except msgspec.MsgspecError:
        replica.say("cannot ask the tasks for their options: runs get those of the table alone")
        return {}
    return {name: Policy(*policy) for name, policy in found.items()}


_decode = msgspec.msgpack.Decoder(dict[str, tuple[str | None, dict[str, Any]]]).decode


def _main(names: Iterable[str]) -> None:
    """Print the policies of functions; whatever modules print goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    let_import()
    found = {name: _plain(policy_of(name)) for name in names}
    with os.fdopen(answer, "wb") as file:
        file.write(msgspec.msgpack.encode(found))


def _plain(policy: Policy) -> tuple[str | None, Mapping[str, Any]]:
    """Return a policy in values that another process understands without the modules."""
    expires = policy.options.get("expires")
    try:
        options = normalize({**policy.options, "expires": None}, due=0.0)
    except ConfigurationError:
        return NO_POLICY[:2]
    if isinstance(expires, datetime):
        options["expires"] = expires
    elif expires is not None:
        options["expires"] = normalize({"expires": expires}, due=0.0)["expires_in"]
    return policy.queue, options


if __name__ == "__main__":
    _main(sys.argv[1:])
