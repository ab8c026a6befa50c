"""A project as users have it: a directory with a supervisor.toml, and commands that run in it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAQ = [sys.executable, "-P", "-m", "naq"]  # as the command does it

TOPOLOGY = """
version = 1
[services.nats]
type = "nats"
port = 0
[services.worker]
type = "worker"
queues = ["default", "mail"]
import = ["examples.tasks"]
replicas = 2
depends_on = ["nats"]
"""


class Project:
    """A directory with a supervisor.toml, and commands that run in it."""

    def __init__(self, directory, topology=TOPOLOGY):
        self.directory = directory
        (directory / "supervisor.toml").write_text(topology)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NAQ_")}
        self.env["PYTHONPATH"] = str(ROOT)

    def run(self, *arguments, cwd=None, **more):
        return subprocess.run(
            [*NAQ, *arguments],
            check=False,
            cwd=cwd or self.directory,
            env={**self.env, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def json(self, *arguments):
        result = self.run(*arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def up(self):
        self.supervisor = subprocess.Popen(
            [*NAQ, "up"],
            cwd=self.directory,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = b""
        self.read_until(b"all services are up")

    def read_until(self, text, timeout=30):
        pipe = self.supervisor.stdout.fileno()
        deadline = time.monotonic() + timeout
        while text not in self.output:
            left = deadline - time.monotonic()
            assert left > 0, self.output.decode()
            if select.select([pipe], [], [], left)[0]:
                chunk = os.read(pipe, 65536)
                assert chunk, self.output.decode()
                self.output += chunk

    def down(self):
        if self.supervisor.poll() is None:
            self.run("down")
        self.supervisor.wait(30)
        self.supervisor.stdout.close()
