"""Between two threads: no call is lost when the other side's loop ends at any moment."""

from __future__ import annotations

import asyncio

import trio

from naq.nats.link.seam import ThreadSeam


def test_calls_after_the_loop_has_ended_are_made_on_this_side():
    loop = asyncio.new_event_loop()
    called = []

    async def main():
        seam = ThreadSeam(loop, trio.lowlevel.current_trio_token(), opening=None)
        loop.close()  # the thread has ended; nobody has said so here yet
        seam.post(called.append, 1)
        seam.post(called.append, 2)
        assert called == []
        seam.end()
        seam.post(called.append, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert called == [1, 2, 3]

    trio.run(main)
