"""The nodes of a cluster, the routes between them, and who leads what."""

from __future__ import annotations

import json
import random
import secrets
import time
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from cluster.node import ACCOUNT, Node
from cluster.routes import Routes
from naq.base.local import is_free
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

    from naq.nats.connection import Connection

SIZE = 3
PATIENCE = 30.0
"""Seconds a node or an election may take on a busy machine."""
ROUTES = 4
"""From each node to each other one: a pool of three, and one of the system account."""


def _ports(number: int) -> list[int]:
    """Free ports; not of those given to clients, so that a node's stays free while it is down."""
    found: list[int] = []
    while len(found) < number:
        port = random.randrange(10_000, 32_000)
        if port not in found and is_free(port):
            found.append(port)
    return found


class Cluster:
    """Three nodes, and the routes between them."""

    def __init__(self, home: Path) -> None:
        """Start them; :meth:`whole` waits until they are a cluster."""
        self._home = home
        self._password = secrets.token_hex(8)
        ports = _ports(3 * SIZE)
        self.nodes = [
            Node(f"n{at + 1}", home, tuple(ports[3 * at : 3 * at + 3]), self._password)
            for at in range(SIZE)
        ]
        # Each dials both others, and of two routes between the same nodes the servers keep one.
        self._links = list(permutations(self.nodes, 2))
        self._routes = Routes([dialled.route_port for _, dialled in self._links])
        for node in self.nodes:
            ports = zip(self._links, self._routes.ports, strict=True)
            node.configure(port for (dialler, _), port in ports if dialler is node)
            node.start()
        self._given: list[Settings] = []

    @property
    def url(self) -> str:
        """All nodes, with credentials."""
        return ",".join(node.url for node in self.nodes)

    def settings(self, *nodes: Node, **values: Any) -> Settings:
        """Return settings with a prefix of their own, and three replicas of everything.

        Args:
            nodes: which ones may be connected to; none: any.
            values: more settings.
        """
        url = ",".join(node.url for node in nodes) or self.url
        options = {"nats_url": url, "prefix": f"t{secrets.token_hex(4)}", "replicas": SIZE}
        made = Settings(**{**options, **values})
        self._given.append(made)
        return made

    def others(self, *nodes: Node) -> list[Node]:
        """Return the nodes that are not among ``nodes``."""
        return [node for node in self.nodes if node not in nodes]

    def node(self, name: str) -> Node:
        """Return the node of that name."""
        return next(node for node in self.nodes if node.name == name)

    # --------------------------------------------------------------- routes

    def _between(self, nodes: Iterable[Node], others: Iterable[Node]) -> list[int]:
        pairs = {frozenset((one, other)) for one in nodes for other in others}
        return [at for at, link in enumerate(self._links) if frozenset(link) in pairs]

    def cut(self, node: Node, *others: Node):
        """``with cluster.cut(node)``: no routes between ``node`` and ``others`` (none: all)."""
        return self._routes.told(self._between([node], others or self.others(node)), "cut")

    def stalled(self, node: Node, *others: Node):
        """``with cluster.stalled(node)``: nothing arrives over these routes, which stay open."""
        return self._routes.told(self._between([node], others or self.others(node)), "freeze")

    def slow(self, node: Node, *others: Node, delay: float):
        """``with cluster.slow(node, delay=0.05)``: these routes take ``delay`` seconds longer."""
        links = self._between([node], others or self.others(node))
        return self._routes.told(links, "delay", delay)

    # -------------------------------------------------------- who leads what

    async def leader(self, stream: str, consumer: str | None = None) -> Node:
        """Return the node that leads a stream, or a consumer of it; wait for an election."""
        return await self._until(partial(self._leader, stream, consumer), f"{stream} has no leader")

    def _leader(self, stream: str, consumer: str | None) -> Node | None:
        """The leader once all nodes that run agree: an old one may not know that it is none now."""
        said = [self._raft(node, stream, consumer) for node in self.nodes if node.running]
        names = {name for name in said if name is not None}
        known = len(names) == 1 and None not in said
        return self.node(names.pop()) if known else None

    def _raft(self, node: Node, stream: str, consumer: str | None) -> str | None:
        answer = node.monitor(f"jsz?acc={ACCOUNT}&streams=true&consumers=true") or {}
        for account in answer.get("account_details") or ():
            for found in account.get("stream_detail") or ():
                if found["name"] != stream:
                    continue
                if consumer is None:
                    return found["cluster"].get("leader") or None
                for one in found.get("consumer_detail") or ():
                    if one["name"] == consumer:
                        return one["cluster"].get("leader") or None
        return None

    async def lead(
        self, connection: Connection, node: Node, stream: str, consumer: str | None = None
    ) -> None:
        """Make a node the leader of a stream, or of a consumer of it."""
        kind = "STREAM" if consumer is None else "CONSUMER"
        what = stream if consumer is None else f"{stream}.{consumer}"
        body = json.dumps({"placement": {"preferred": node.name}}).encode()
        with anyio.fail_after(PATIENCE):
            while await self.leader(stream, consumer) is not node:
                await connection.request(f"$JS.API.{kind}.LEADER.STEPDOWN.{what}", body)
                await anyio.sleep(0.1)

    async def meta_leader(self) -> Node:
        """Return the node that leads the cluster: which makes streams and consumers."""

        def find() -> Node | None:
            said = {
                ((node.monitor("jsz") or {}).get("meta_cluster") or {}).get("leader")
                for node in self.nodes
                if node.running
            }
            return self.node(said.pop()) if len(said) == 1 and all(said) else None

        return await self._until(find, "the cluster has no leader")

    async def _until(self, check, otherwise: str) -> Any:
        """Wait for something that is asked in a thread, as nothing tells it."""
        with anyio.move_on_after(PATIENCE):
            while not (found := await anyio.to_thread.run_sync(check)):  # noqa: ASYNC110
                await anyio.sleep(0.05)
            return found
        raise AssertionError(otherwise)

    # ------------------------------------------------------------ being whole

    def whole(self) -> None:
        """Undo what was done to the nodes and routes; return once all are healthy."""
        self._routes.heal(range(len(self._links)))
        for node in self.nodes:
            if node.leaving:
                node.kill()
            if node.running:
                node.thaw()
            else:
                node.start()
        begun = time.monotonic()
        while not all(node.healthy and self._sees_all(node, begun) for node in self.nodes):
            assert time.monotonic() < begun + PATIENCE, self.words()
            for node in self.nodes:
                node.say_what_it_is()
            time.sleep(0.05)

    def _sees_all(self, node: Node, since: float) -> bool:
        """Whether a node has all its routes and, if it leads, has heard of all others ``since``."""
        meta = (node.monitor("jsz") or {}).get("meta_cluster") or {}
        routes = (node.monitor("routez") or {}).get("routes") or ()
        if len(routes) != ROUTES * (SIZE - 1) or not meta.get("leader"):
            return False
        silent = time.monotonic() - since
        there = [one for one in meta.get("replicas") or () if not one.get("offline")]
        heard = [one for one in there if one["active"] / 1e9 < silent]
        return meta["leader"] != node.name or len(heard) == SIZE - 1

    def given(self) -> list[Settings]:
        """Return the settings that were made since the last call."""
        given, self._given = self._given, []
        return given

    def words(self) -> str:
        """Return the last words of all nodes."""
        logs = [node.log.read_text(errors="replace") for node in self.nodes]
        return "\n".join(
            f"--- {n.name}\n{t[-2000:]}" for n, t in zip(self.nodes, logs, strict=True)
        )

    def close(self) -> None:
        """End all processes."""
        for node in self.nodes:
            node.kill()
        self._routes.close()
