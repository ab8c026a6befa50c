"""What the control socket sends to somebody who does not read."""

from __future__ import annotations

import json

import trio

from naq.supervisor.control.server import Outbox


def test_an_outbox_drops_what_finds_no_room_and_says_how_much():
    sent = []

    async def send(data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.extend(map(json.loads, data.splitlines()))

    async def main():
        outbox = Outbox(lambda content: json.dumps(content).encode() + b"\n", limit=20)
        for number in range(100):
            outbox.put(number)
        outbox.close()
        with trio.fail_after(5):
            await outbox.send(send)

    trio.run(main)
    *numbers, last = sent
    assert numbers == list(range(len(numbers)))
    assert last == {"dropped": 100 - len(numbers)}
