"""docs/cluster.md, step by step, in three folders of this machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from naq.base.local import free_port
from naq.services.server import find_binary

pytestmark = [pytest.mark.process, pytest.mark.time_limit(180)]
PAGE = Path(__file__).parents[3] / "docs" / "cluster.md"
HOSTS = ("one", "two", "three")
NAQ = Path(sys.executable).with_name("naq")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def here(text: str, ports: dict[str, tuple[int, int, int]]) -> str:
    """Return a text of the page with the hosts' addresses on this machine."""
    for host, (clients, routes, _) in ports.items():
        text = text.replace(f"{host}.example:4222", f"127.0.0.1:{clients}")
        text = text.replace(f"{host}.example:6222", f"127.0.0.1:{routes}")
    return text


def configuration(host: str, ports: dict[str, tuple[int, int, int]], folder: Path) -> str:
    clients, routes, monitoring = ports[host]
    text = here(blocks("text")[0], ports).replace("server_name: one", f"server_name: {host}")
    text = text.replace("0.0.0.0:4222", f"127.0.0.1:{clients}")
    text = text.replace("0.0.0.0:6222", f"127.0.0.1:{routes}")
    text = text.replace("127.0.0.1:8222", f"127.0.0.1:{monitoring}")
    return text.replace("/var/lib/nats", str(folder / "nats"))


@pytest.fixture
def hosts(tmp_path):
    """Three folders as the page makes them; servers run, and all is stopped afterwards."""
    ports = {host: (free_port(), free_port(), free_port()) for host in HOSTS}
    with ExitStack() as stack:
        servers = {}
        for host in HOSTS:
            folder = tmp_path / host
            folder.mkdir()
            (folder / "supervisor.toml").write_text(here(blocks("toml")[0], ports))
            (folder / "tasks.py").write_text(blocks("python")[0])
            config = folder / "nats-server.conf"
            config.write_text(configuration(host, ports, folder))
            log = stack.enter_context((folder / "nats.log").open("wb"))
            servers[host] = subprocess.Popen([find_binary(), "-c", config], stdout=log, stderr=log)
        try:
            yield tmp_path, servers
        finally:
            for host in HOSTS:
                naq(tmp_path / host, "down", "--now", check=False)
            for server in servers.values():
                server.kill()
                server.wait(10)


def naq(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("NAQ_")}
    done = subprocess.run(
        [NAQ, *words], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=90
    )
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done


def test_what_the_page_says_works_and_a_host_may_be_lost(hosts):
    home, servers = hosts
    said = {}
    for block in blocks("console"):
        lines = block.splitlines()
        for at, line in enumerate(lines):
            if found := re.match(r"(\w+)\$ naq (.*)", line):
                done = until_it_works(home / found[1], *found[2].split())
                said[found[2]] = done.stdout
                if at + 1 < len(lines) and "$" not in lines[at + 1]:
                    assert done.stdout.splitlines() == [lines[at + 1]]
    assert said["topology --apply"].count("3") >= 5
    assert len(said["list-workers"].splitlines()) == 1 + 6

    servers["one"].send_signal(signal.SIGKILL)
    naq(home / "one", "down", "--now")
    answer = until_it_works(home / "two", "enqueue", "tasks:add", "20", "3", "--wait")
    assert answer.stdout == "23\n"


def until_it_works(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command; again while the cluster is still forming, or has an election."""
    end = time.monotonic() + 60
    while True:
        done = naq(folder, *words, check=False)
        if done.returncode == 0 or time.monotonic() > end:
            assert done.returncode == 0, (words, done.stdout, done.stderr)
            return done
        assert "Traceback" not in done.stderr
        time.sleep(0.5)
