"""A pytest plugin: the fixture ``cluster``, and tests that run on a cluster, too."""

from __future__ import annotations

import anyio
import pytest

from cluster.nodes import Cluster
from naq.nats.connection import connect

ONE, CLUSTER = "one server", "cluster"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: runs on a cluster of three nodes, too")


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a marked test run on every event loop with one server, and on two with the cluster.

    By a marker, which wins over the parameters that the fixture of the event loops has.
    """
    if metafunc.definition.get_closest_marker("cluster") is None:
        return
    loops = {
        "asyncio": ("asyncio", {"use_uvloop": False}),
        "uvloop": ("asyncio", {"use_uvloop": True}),
        "trio": ("trio", {}),
    }
    on = [(ONE, name) for name in loops] + [(CLUSTER, name) for name in ("uvloop", "trio")]
    parameters = [
        pytest.param(broker, loops[name], id=name if broker is ONE else f"{name}-on-a-cluster")
        for broker, name in on
    ]
    both = pytest.mark.parametrize(("broker", "anyio_backend"), parameters, indirect=True)
    metafunc.definition.add_marker(both)


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory):
    """The cluster of this session, which tests do not take: they take ``cluster``."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.whole()
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(three_nodes):
    """A cluster that is whole, for a test that may harm it; see :mod:`cluster`."""
    yield three_nodes
    three_nodes.whole()
    anyio.run(_delete_all, three_nodes)


async def _delete_all(cluster: Cluster) -> None:
    """Delete the streams of the prefixes that were given."""
    given = [one.names for one in cluster.given()]
    ours = {
        name
        for names in given
        for name in (
            names.jobs_stream,
            names.results_stream,
            names.counts_stream,
            names.totals_stream,
            names.workers_stream,
        )
    }
    async with connect(cluster.url) as connection:
        there = (await connection.streams.api("$JS.API.STREAM.NAMES"))["streams"] or ()
        for name in ours.intersection(there):
            await connection.streams.api(f"$JS.API.STREAM.DELETE.{name}")


@pytest.fixture
def broker(request):
    """What ``settings`` lead to: a server, or a cluster where a marked test runs on one."""
    on_cluster = getattr(request, "param", ONE) is CLUSTER
    return request.getfixturevalue("three_nodes" if on_cluster else "nats")
