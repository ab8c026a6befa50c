"""What the commands that are typed most, and those that run most often, do not import.

Most of the time until a command answers, or until a project is ready, is spent on imports.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from project import ROOT

pytestmark = pytest.mark.process

TOPOLOGY = """
version = 1
[services.nats]
type = "nats"
port = 0
[services.once]
type = "command"
command = "true"
restart = "never"
depends_on = ["nats"]
"""
RARE = {"cloudpickle", "croniter", "hypercorn", "prometheus_client", "psutil", "quart_trio"}
PRETTY = {"rich", "structlog"}
"""structlog imports rich, and so does whatever prints tables to a terminal."""

NOT_FOR = {
    ("--version",): {"cyclopts", "msgspec", *RARE, *PRETTY, "h11", "asyncio", "trio", "anyio"},
    ("ps",): {"msgspec", *RARE, *PRETTY, "h11", "asyncio", "trio", "anyio", "hashlib", "sysconfig"},
    ("up", "--exit-on", "once"): {*RARE, *PRETTY, "asyncio", "nats", "naq.nats.connection"},
    ("worker", "--burst"): {*RARE, *PRETTY, "h11", "trio", "naq.schedules.manage"},
}


@pytest.mark.parametrize("command", NOT_FOR, ids=lambda words: words[0])
def test_a_command_imports_only_what_it_uses(command, tmp_path, settings):
    (tmp_path / "supervisor.toml").write_text(TOPOLOGY)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NAQ_")},
        "NAQ_NATS_URL": settings.nats_url,
        "NAQ_PREFIX": settings.prefix,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-P", "-m", "naq", *command],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "naq.cli" in imported
    assert imported & NOT_FOR[command] == set()
