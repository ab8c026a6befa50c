"""How much memory the embedded server is given: by what it keeps, unless somebody says so."""

from __future__ import annotations

import os

import pytest

from naq.services.server import LEAST_MEMORY, EmbeddedServer

MILLION = 300 * 10**6
"""Bytes on disk of a million small messages."""


@pytest.fixture
def server(tmp_path):
    def make(**options):
        return EmbeddedServer(
            binary="nats-server", run_dir=tmp_path / "run", store_dir=tmp_path / "js", **options
        )

    return make


def kept(server, size):
    """Have so many bytes in the store; of a file with holes, which takes no room."""
    block = server.store_dir / "jetstream" / "$G" / "streams" / "naq_jobs" / "msgs" / "1.blk"
    block.parent.mkdir(parents=True)
    with block.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("size", "least", "most"),
    [
        (0, LEAST_MEMORY, LEAST_MEMORY),
        (MILLION // 10, LEAST_MEMORY, LEAST_MEMORY),
        (MILLION, 3 * 190 * 10**6, 4 * 190 * 10**6),
        (10**13, LEAST_MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2),
    ],
)
def test_it_grows_with_what_is_kept(server, size, least, most):
    made = server()
    kept(made, size)

    assert least <= int(made.environment({})["GOMEMLIMIT"]) <= most


def test_what_is_given_wins(server):
    assert server(memory=10**9).environment({})["GOMEMLIMIT"] == "1000000000"
    assert server().environment({"GOMEMLIMIT": "off", "GOGC": "100"}) == {}
