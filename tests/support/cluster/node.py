"""One node of a cluster: a nats-server on loopback, and what may happen to it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from naq.services.server import find_binary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any

ACCOUNT = "APP"
"""The account of the tests; what nodes tell each other has one of its own."""
NOWHERE = "127.0.0.1:9"
"""What nodes tell each other of their address, so that no route is made beside those of ours."""


class Node:
    """One nats-server of a cluster. Its name is ``n1``, ``n2`` or ``n3``."""

    def __init__(self, name: str, home: Path, ports: tuple[int, int, int], password: str) -> None:
        self.name = name
        self.port, self.http_port, self.route_port = ports
        self.log = home / f"{name}.log"
        self._config = home / f"{name}.conf"
        self._store = home / name
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.leaving = False
        """Whether it is a lame duck, which ends by itself after some time."""

    def __repr__(self) -> str:
        return f"<Node {self.name}>"

    @property
    def url(self) -> str:
        """Where clients find this node, with credentials."""
        return f"nats://naq:{self._password}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of its process; there must be one."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def configure(self, routes: Iterable[int]) -> None:
        """Write its configuration: it dials ``routes``; the other nodes dial it."""
        values = {
            "server_name": self.name,
            "listen": f"127.0.0.1:{self.port}",
            "http": f"127.0.0.1:{self.http_port}",
            "logtime": True,
            "jetstream": {"store_dir": str(self._store)},
            "accounts": {
                ACCOUNT: {
                    "jetstream": "enabled",
                    "users": [{"user": "naq", "password": self._password}],
                },
                "$SYS": {"users": [{"user": "sys", "password": self._password}]},
            },
            "cluster": {
                "name": "naq",
                "listen": f"127.0.0.1:{self.route_port}",
                "advertise": NOWHERE,
                "routes": [f"nats://127.0.0.1:{port}" for port in routes],
            },
            "lame_duck_grace_period": "1s",
            "lame_duck_duration": "30s",  # the least it takes
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()]
        self._config.write_text("\n".join(lines))

    # ------------------------------------------------------- what may happen

    def start(self) -> None:
        """Start it, again if it was killed; with its streams as they were."""
        assert not self.running
        self.leaving = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [find_binary(), "--config", str(self._config)], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            self.thaw()
            self._process.kill()
            self._process.wait(10)

    def freeze(self) -> None:
        """Let it do nothing any more; its connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for the length of the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def lame_duck(self) -> None:
        """Have it hand over what it leads, send its clients away one by one, and end."""
        self.leaving = True
        self._process.send_signal(signal.SIGUSR2)

    def stop(self) -> None:
        """Have it end in order."""
        if self.running:
            self.thaw()
            self._process.terminate()
            self._process.wait(10)

    # ---------------------------------------------------------- what it says

    def monitor(self, path: str) -> dict[str, Any] | None:
        """Return the answer of its monitoring to a path, ``jsz``; None if it gives none now."""
        url = f"http://127.0.0.1:{self.http_port}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def say_what_it_is(self) -> None:
        """Have all nodes it sees tell each other what they are.

        One that was cut off is placed nothing on until it has, which by itself takes ten seconds.
        """
        login = json.dumps({"user": "sys", "pass": self._password, "verbose": False})
        question = f"CONNECT {login}\r\nPUB $SYS.REQ.SERVER.PING.STATSZ 0\r\n\r\nPING\r\n"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
            link.sendall(question.encode())
            said = b""
            while b"PONG" not in said and (data := link.recv(4096)):
                said += data

    @property
    def healthy(self) -> bool:
        """Whether its JetStream is there, and up to date with the cluster's."""
        return self.running and (self.monitor("healthz") or {}).get("status") == "ok"
