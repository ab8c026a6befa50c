"""What is written when: over a link that takes as much as a test says."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import anyio
import pytest

from naq.nats.link.outbox import EAGER, ENOUGH, PER_TURN, Outbox, Publish


class Link:
    """Takes ``room`` writes; then it is crowded until it is relieved."""

    def __init__(self, room=1000):
        self.room = room
        self.written = []
        self.relieved = anyio.Event()

    def send(self, commands):
        self.room -= 1
        self.written.append(commands)

    @property
    def crowded(self):
        return self.room <= 0

    async def until_free(self):
        await self.relieved.wait()


class Item:
    def __init__(self, text, size=0):
        self.text = text.encode() + b"x" * size
        self.encoded = 0

    def encode(self):
        self.encoded += 1
        return self.text


@pytest.fixture
def anyio_backend():
    return "asyncio"


def outbox(link):
    return Outbox(asyncio.get_running_loop(), copy_context(), link=lambda: link)


async def test_what_a_turn_puts_in_is_one_write():
    link = Link()
    box = outbox(link)
    for text in "abc":
        box.put(Item(text))
    assert link.written == []
    await box.drained.wait()
    assert link.written == [b"abc"]


async def test_many_do_not_wait_for_the_end_of_the_turn_but_acks_do():
    link = Link()
    box = outbox(link)
    for _ in range(EAGER):
        box.put(Item("a"))
    assert link.written == [b"a" * EAGER]
    for _ in range(3 * EAGER):
        box.put_idly(Item("b"))
    assert len(link.written) == 1
    await box.drained.wait()
    assert link.written[1:] == [b"b" * 3 * EAGER]


async def test_what_cannot_be_written_is_not_encoded_and_keeps_its_order():
    link = Link(room=1)
    box = outbox(link)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(box.run)
        items = [Item(text) for text in "abcdef"]
        box.push(items[0])
        for item in items[1:]:
            box.push(item)
        await anyio.wait_all_tasks_blocked()
        assert link.written == [b"a"]
        assert [item.encoded for item in items] == [1, 0, 0, 0, 0, 0]
        link.room = 1000
        link.relieved.set()
        await box.drained.wait()
        assert b"".join(link.written) == b"abcdef"
        assert not box
        tasks.cancel_scope.cancel()


async def test_a_write_is_bounded_in_messages_and_bytes():
    link = Link()
    box = outbox(link)
    box.begin_again([Item("a") for _ in range(PER_TURN + 1)])
    await box.drained.wait()
    assert [len(one) for one in link.written] == [PER_TURN, 1]
    link.written.clear()
    box.begin_again([Item("", size=ENOUGH) for _ in range(3)])
    await box.drained.wait()
    assert [len(one) for one in link.written] == [ENOUGH] * 3


async def test_on_a_new_link_only_plain_publishes_are_left():
    box = outbox(None)
    publish = Publish("a", b"1")
    box.put(publish)
    box.push(Item("piece"))
    assert box.unsent() == [publish]
