"""Programs on a leaf node, whose jobs are kept by the hub: another domain of JetStream."""

from __future__ import annotations

import json
import time

import anyio
import pytest
from logins import served

import naq
from examples.tasks import add
from naq.base.local import free_port
from naq.exceptions import ConfigurationError
from naq.settings import Settings


@pytest.fixture
def leaf(tmp_path):
    """The port of a leaf node with a JetStream of its own, linked to a hub."""
    links = free_port()
    homes = [tmp_path / name for name in ("hub", "leaf")]
    for home in homes:
        home.mkdir()
    hub = f'server_name: hub\nleafnodes {{ listen: "127.0.0.1:{links}" }}\n'
    remote = f'leafnodes {{ remotes: [ {{ url: "nats://127.0.0.1:{links}" }} ] }}\n'
    with (
        served(homes[0], hub, domain="hub"),
        served(homes[1], f"server_name: leaf\n{remote}", domain="leaf") as port,
    ):
        while b"JetStream using domains" not in (homes[1] / "login.log").read_bytes():
            time.sleep(0.02)  # the link is up
        yield port


@pytest.mark.parametrize("by", ["environment", "context"])
async def test_jobs_of_a_leaf_node_are_kept_by_the_hub(leaf, tmp_path, anyio_backend, by):
    if by == "environment":
        env = {"NAQ_NATS_URL": f"nats://127.0.0.1:{leaf}", "NAQ_JETSTREAM_DOMAIN": "hub"}
    else:
        file = tmp_path / "leaf.json"
        file.write_text(json.dumps({"url": f"nats://127.0.0.1:{leaf}", "jetstream_domain": "hub"}))
        env = {"NAQ_NATS_CONTEXT": str(file)}
    async with (
        naq.connect(settings=Settings.from_env(env)) as connection,
        naq.Queue("default", connection=connection) as queue,
        anyio.create_task_group() as tasks,
    ):
        answer = await connection.streams.api(f"$JS.API.STREAM.INFO.{connection.names.jobs_stream}")
        assert answer["domain"] == "hub"
        worker = naq.Worker(["default"], connection=connection)
        await tasks.start(worker.run)
        assert await (await queue.enqueue(add, 2, 3)).result(timeout=20) == 5
        jobs = await queue.enqueue_many([naq.call(add, n, 1) for n in range(100)])
        later = await queue.enqueue_in(0.2, add, 1, 1)
        assert [await job.result(timeout=20) for job in jobs] == [n + 1 for n in range(100)]
        assert await later.result(timeout=20) == 2
        assert (await queue.stats()).depth == 0
        worker.stop()


@pytest.mark.parametrize("name", ["a.b", "a b", "*", ">"])
def test_a_domain_is_one_word(name):
    with pytest.raises(ConfigurationError, match="one word"):
        Settings.from_env({"NAQ_JETSTREAM_DOMAIN": name})
