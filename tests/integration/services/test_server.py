"""The embedded server: where it listens, and what a configuration file of one's own changes."""

from __future__ import annotations

import json
import socket
import urllib.request

import psutil
import pytest

from naq.exceptions import ConfigurationError
from naq.nats.connection import connect
from naq.services.server import EmbeddedServer, find_binary, run_server
from naq.settings import Settings


@pytest.fixture
def embedded(tmp_path):
    def make(**options):
        run_dir, store_dir = tmp_path / "shöp" / "run", tmp_path / "jetstream"
        return EmbeddedServer(binary=find_binary(), run_dir=run_dir, store_dir=store_dir, **options)

    return make


def monitoring(server, what="varz"):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/{what}") as answer:
        return json.load(answer)


async def is_usable(server):
    async with connect(settings=Settings(nats_url=server.url_with_token)) as connection:
        return connection.connected


async def test_it_listens_on_loopback_and_asks_for_its_token(embedded):
    server = embedded()
    async with run_server(server):
        assert monitoring(server)["host"] == "127.0.0.1"
        assert monitoring(server)["auth_required"]
        assert await is_usable(server)


@pytest.mark.parametrize(("listen", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
async def test_it_listens_where_it_is_told_to(embedded, listen, host):
    if listen == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    server = embedded(listen=listen)
    async with run_server(server):
        assert monitoring(server)["host"] == listen
        assert monitoring(server)["http_host"] == "127.0.0.1"
        assert server.url == f"nats://{host}:{server.port}"
        assert await is_usable(server)


async def test_a_file_of_ones_own_is_read_after_ours(embedded, tmp_path):
    config = tmp_path / "my nats.conf"
    config.write_text("server_name: mine\nmax_connections: 77\n")
    server = embedded(config=config)
    async with run_server(server):
        assert monitoring(server)["server_name"] == "mine"
        assert monitoring(server)["max_connections"] == 77
        assert await is_usable(server)


@pytest.mark.parametrize(("given", "used"), [(None, "200"), ("50", "50")])
async def test_its_garbage_is_collected_as_one_says(embedded, monkeypatch, given, used):
    monkeypatch.delenv("GOGC", raising=False)
    if given:
        monkeypatch.setenv("GOGC", given)
    async with run_server(embedded()) as pid:
        assert psutil.Process(pid).environ()["GOGC"] == used


def test_what_cannot_be_is_said_before_it_is_started(embedded, tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.conf: there is no such file"):
        embedded(config=tmp_path / "none.conf").configure()
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:.* Cannot assign"):
        embedded(listen="192.0.2.1").configure()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}: it is taken by"):
            embedded(port=port).configure()
