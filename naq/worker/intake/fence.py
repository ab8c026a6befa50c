"""The fence: which deliveries are not taken for first ones, although the server says they are.

A server that was killed comes back with consumers that are behind: what was delivered, run and
settled in its last moments is delivered again, as for the first time. So is what a consumer's
leader had no time to tell its followers. Nothing can be forgotten that was stored after that. So
the fence is the stream's last sequence, read once a server, or a leader, has begun a new *life*:
the records of jobs up to there are read before they are run (:mod:`naq.worker.intake.lookups`),
those of later ones need not be.

Workers share what they have read (``naq.u.fence.<queue>``): one that begins on a server that has
not been restarted since reads no more records than the others.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import msgspec

from naq.base import backoff
from naq.exceptions import NaqConnectionError, SerializationError
from naq.nats.jetstream import EXPECTED_SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from naq.jobs.coding.codec import Codec
    from naq.nats.connection import Connection

__all__ = ["EVERYTHING", "Fence", "Mark"]

log = logging.getLogger("naq.worker")

EVERYTHING = 2**63
"""A sequence that no message has: all deliveries are in doubt."""


class Mark(msgspec.Struct, frozen=True):
    """What workers have found out about a queue's consumer: one life of it, and the fence for that.

    ``life`` names the run of a server, or the term of a leader.
    """

    life: str
    seq: int


class Fence:
    """The fence of one worker, for all of its queues: the highest of theirs.

    Attributes:
        seq: deliveries up to this sequence are in doubt.
    """

    def __init__(self, connection: Connection, codec: Codec, queues: Iterable[str]) -> None:
        """Begin with all deliveries in doubt; :meth:`find` ends that."""
        self.seq = EVERYTHING
        self._connection = connection
        self._codec = codec
        self._queues = tuple(queues)
        self._doubts = 0
        self._doubted = anyio.Event()

    def doubt(self) -> None:
        """Doubt all deliveries from now on, until it is known which need not be doubted."""
        self.seq = EVERYTHING
        self._doubts += 1
        self._doubted.set()

    async def keep(self) -> None:
        """Find the fence anew after each doubt, until cancelled."""
        attempt = 0
        while True:
            await self._doubted.wait()
            try:
                await self.find()
                attempt = 0
            except NaqConnectionError as exc:
                log.debug("cannot find out which deliveries may be repeated: %s", exc)
                await anyio.sleep(
                    backoff.exponential(attempt, initial=0.05, maximum=2.0, jitter=0.3)
                )
                attempt += 1

    async def find(self) -> None:
        """Find out up to where deliveries are in doubt.

        Raises:
            NaqConnectionError: the server cannot be reached, or refuses.
        """
        doubts = self._doubts
        lives = {queue: await self._life(queue) for queue in self._queues}
        known = await self._marks()
        seq = 0
        for queue, life in lives.items():
            mark, expected = known.get(queue, (None, 0))
            if mark is None or not life or mark.life != life:
                mark = await self._new_mark(queue, life, expected)
            seq = max(seq, mark.seq)
        if self._doubts == doubts:  # else begin again
            self.seq = seq
            self._doubted = anyio.Event()

    async def _life(self, queue: str) -> str:
        """Return what names this life of a queue's consumer; nothing if that cannot be told."""
        connection = self._connection
        if not connection.clustered:
            return connection.server_id
        names = connection.names
        info = await connection.streams.consumer_info(names.jobs_stream, names.consumer(queue))
        raft = info.cluster
        # What has one replica in a cluster has no terms: its server may have been restarted.
        return f"{raft.leader} {raft.leader_since}" if raft and raft.leader_since else ""

    async def _marks(self) -> dict[str, tuple[Mark | None, int]]:
        names = self._connection.names
        subjects = {names.fence(queue): queue for queue in self._queues}
        found: dict[str, tuple[Mark | None, int]] = {}
        for stored in await self._connection.streams.last_of(names.jobs_stream, list(subjects)):
            try:
                mark = self._codec.open(Mark, stored.data, stored.headers)
            except SerializationError:
                mark = None  # not ours, so not believed
            found[subjects[stored.subject]] = mark, stored.seq
        return found

    async def _new_mark(self, queue: str, life: str, expected: int) -> Mark:
        """Read how far the stream is, and tell the others."""
        names, streams = self._connection.names, self._connection.streams
        if not expected and await self._is_untouched(queue):
            seq = 0
        else:
            seq = (await streams.stream_info(names.jobs_stream)).state.last_seq
        mark = Mark(life, seq)
        if life:
            body, headers = self._codec.seal(mark)
            headers[EXPECTED_SEQUENCE] = str(expected)
            # Nobody waits for the answer: if another worker was first, its mark is as good for the
            # next one as ours, and ours is for us; and if we may not write, all works without.
            self._connection.store_soon(lambda _: None, names.fence(queue), body, headers)
        return mark

    async def _is_untouched(self, queue: str) -> bool:
        """Whether nothing of a queue was ever delivered; asked where there is no mark.

        Any worker leaves one before it asks for jobs, so a consumer cannot have forgotten it all.
        """
        names = self._connection.names
        info = await self._connection.streams.consumer_info(
            names.jobs_stream, names.consumer(queue)
        )
        return info.delivered.consumer_seq == 0
