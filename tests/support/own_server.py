"""A nats-server of its own, for a test that harms it."""

from __future__ import annotations

import signal
import subprocess

from naq.services.server import EmbeddedServer, find_binary


class Server:
    """A nats-server that a test may kill, freeze and start again."""

    def __init__(self, home, **options):
        self.config = EmbeddedServer(
            binary=find_binary(), run_dir=home / "run", store_dir=home / "jetstream", **options
        )
        self.home = home
        self.process = None

    async def start(self):
        with (self.home / "log").open("ab") as log:
            command = self.config.configure()
            self.process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220
        await self.config.wait_healthy()

    def kill(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
