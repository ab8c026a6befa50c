"""What a worker holds, in a file that outlives the process.

Each job in hand has a slot of 512 bytes in a small file that is mapped into memory. To enter one,
its slot is filled and then its state, one byte, is written; so nothing is ever half there, whenever
the process dies. Nobody reads it before that. A step of a job costs one store into memory.

The header has what is true of all slots. Each of its fields that change is written by one thread,
in one store. Times are of a clock that all processes of a machine share and that goes on while it
sleeps (``clock``).

A worker that ends in order leaves the file empty: there is nothing to be done about it.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from contextlib import contextmanager
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from naq.base.fork import undone_in_children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq.nats.connection import Connection

__all__ = ["SLOT", "Contents", "Entry", "Ledger", "State", "clock", "oom_kills", "opened", "read"]

SLOT = 512
"""Bytes of a slot, and of the header."""
MAGIC = b"naq ldg1"

# The header. Native order and sizes: it is read on the machine it was written on. What changes has
# a place of its own, aligned, so that it is written by one store.
_HEADER = struct.Struct("@8sIIddddIIQH")
_LINK, _RENEWED, _ARMED, _CULPRIT, _ENDED = 12, 16, 32, 48, 52
_NUMBER, _TIME = struct.Struct("@I"), struct.Struct("@d")
# A slot, after its state: link, arrival, length of the two texts that follow.
_ENTRY = struct.Struct("=IdHH")
_TEXTS = 1 + _ENTRY.size


class State(IntEnum):
    """How far a job has come."""

    FREE = 0
    WAITING = 1
    """It waits for a slot of the worker, or is being decided about."""
    STARTED = 2
    """Its code runs, or is being imported."""
    RETURNED = 3
    """Its code has returned; perhaps its outcome is not stored yet."""


if sys.platform == "linux":
    clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
else:
    clock = time.monotonic


class Ledger:
    """The ledger of one worker, for the worker itself."""

    def __init__(
        self, fd: int | None, *, room: int, worker: str, ack_wait: float, stall: float | None
    ) -> None:
        """Make an empty ledger.

        Args:
            fd: of the file, which is made as large as is needed; None: nobody is to read it.
            room: for how many jobs; more are not entered.
            worker: its name.
            ack_wait: seconds a lease lasts.
            stall: seconds after which the process ends itself if its loop stands still.

        Raises:
            OSError: the file cannot be mapped.
        """
        size = (room + 1) * SLOT
        if fd is None:
            self._memory = mmap.mmap(-1, size)
        else:
            os.ftruncate(fd, 0)
            os.ftruncate(fd, size)
            self._memory = mmap.mmap(fd, size)
        self.states = self._memory
        """At the place of a job, its :class:`State`: one byte, written when it takes a step."""
        self._fd = fd
        self._room = room
        self._link = 0
        self._free = list(range(room * SLOT, 0, -SLOT))
        name = worker.encode()[: SLOT - _HEADER.size]
        header = (room, 0, 0.0, ack_wait, 0.0, stall or 0.0, 0, 0, oom_kills(), len(name))
        self._memory[_HEADER.size : _HEADER.size + len(name)] = name
        _HEADER.pack_into(self._memory, 0, MAGIC, *header)

    # ------------------------------------------------------------------- jobs

    def enter(self, reply: str, subject: str) -> int:
        """Enter a job that has arrived; return its place, 0 if there is no room for it."""
        if not self._free:
            return 0
        texts = (reply + subject).encode()
        end = _TEXTS + len(texts)
        if end > SLOT:
            return 0
        place = self._free.pop()
        memory = self._memory
        head = _ENTRY.pack(self._link, clock(), len(reply), len(subject))
        memory[place + 1 : place + end] = head + texts
        memory[place] = 1
        return place

    def moved(self, place: int, reply: str, subject: str) -> int:
        """Enter anew a job that was delivered again; return its new place."""
        state = self._memory[place] if place else 1
        self.leave(place)
        place = self.enter(reply, subject)
        if place:
            self._memory[place] = state
        return place

    def leave(self, place: int) -> None:
        """Forget a job: it is settled."""
        if place:
            self._memory[place] = 0
            self._free.append(place)

    # ------------------------------------------------------------- all of them

    def link_changed(self, up: bool) -> None:  # noqa: ARG002 - told of both
        """Note that the link was lost or is another: what was delivered before is in doubt."""
        self._link += 1
        _NUMBER.pack_into(self._memory, _LINK, self._link)

    def renewed(self, at: float) -> None:
        """Note when the leases of all that is held were renewed; for the thread that does so."""
        _TIME.pack_into(self._memory, _RENEWED, at)

    def armed(self, at: float) -> None:
        """Note since when the process ends itself if its loop stands still."""
        _TIME.pack_into(self._memory, _ARMED, at)

    def culprit(self, place: int) -> None:
        """Note which job blocks the loop, 0 for none; for the thread that sees it."""
        _NUMBER.pack_into(self._memory, _CULPRIT, place)

    def close(self) -> None:
        """Let go of it, at the end of the worker; the file is left empty if nothing is held."""
        settled = len(self._free) == self._room
        if not settled:
            _NUMBER.pack_into(self._memory, _ENDED, 1)
        self.unmap()
        if settled and self._fd is not None:
            os.ftruncate(self._fd, 0)

    def unmap(self) -> None:
        """Let go of the memory; for a forked child, which must not write into it."""
        self._memory.close()


@contextmanager
def opened(ledger: Ledger, connection: Connection) -> Iterator[Ledger]:
    """Keep a ledger for the length of the block; it learns of changes of the link."""
    try:
        with undone_in_children(ledger.unmap), connection.link_listener(ledger.link_changed):
            yield ledger
    finally:
        ledger.close()


# ------------------------------------------------------------------- afterwards


class Entry(msgspec.Struct, frozen=True):
    """A job that a worker held: how it is settled, its message's subject, how far it had come.

    ``link`` and ``arrived`` tell over which link it came, and when by ``clock``.
    """

    place: int
    state: State
    link: int
    arrived: float
    reply: str
    subject: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker left in its ledger; times are by ``clock``.

    Attributes:
        worker: its name.
        link: the last one it had.
        renewed: when the leases of all it held were renewed, 0 for never.
        ack_wait: seconds a lease lasts.
        armed: since when it would end itself if its loop stood still.
        stall: after how many seconds, 0 for never.
        culprit: place of the job that blocked the loop, 0 for none.
        ended: whether it ended in order and could not hand back what is here.
        oom_kills: what :func:`oom_kills` returned when it began.
        entries: the jobs.
    """

    worker: str
    link: int
    renewed: float
    ack_wait: float
    armed: float
    stall: float
    culprit: int
    ended: bool
    oom_kills: int
    entries: tuple[Entry, ...]


def read(fd: int) -> Contents | None:
    """Return what is in a ledger, None if there is nothing; it must not be written any more.

    Raises:
        ValueError: this is no ledger.
    """
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    if not data.strip(b"\0"):
        return None
    try:
        magic, slots, link, renewed, ack_wait, armed, stall, culprit, ended, kills, length = (
            _HEADER.unpack_from(data)
        )
    except struct.error as exc:
        raise ValueError(f"a ledger of {len(data)} bytes is too short") from exc
    if magic != MAGIC or len(data) != (slots + 1) * SLOT:
        raise ValueError(
            f"{len(data)} bytes that begin with {magic!r} are no ledger of this version"
        )
    return Contents(
        worker=data[_HEADER.size : _HEADER.size + length].decode("utf-8", "replace"),
        link=link,
        renewed=renewed,
        ack_wait=ack_wait,
        armed=armed,
        stall=stall,
        culprit=culprit,
        ended=bool(ended),
        oom_kills=kills,
        entries=tuple(_entries(data)),
    )


def _entries(data: bytes) -> Iterator[Entry]:
    for place in range(SLOT, len(data), SLOT):
        state = data[place]
        if state:
            link, arrived, reply, subject = _ENTRY.unpack_from(data, place + 1)
            texts = data[place + _TEXTS : place + _TEXTS + reply + subject].decode()
            yield Entry(place, State(state), link, arrived, texts[:reply], texts[reply:])


def oom_kills() -> int:
    """Return how many processes of this control group the kernel has killed for lack of memory.

    0 where it does not count them. Both versions of control groups have a file that says
    ``oom_kill N``.
    """
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
        paths = {names: path for _, names, path in (line.split(":", 2) for line in groups)}
        file = (
            f"/sys/fs/cgroup/memory{paths['memory']}/memory.oom_control"
            if "memory" in paths
            else f"/sys/fs/cgroup{paths['']}/memory.events"
        )
        words = Path(file).read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, KeyError, IndexError):
        return 0
