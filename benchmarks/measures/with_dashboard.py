"""A worker and a dashboard on one event loop, as `naq up` runs them as tasks."""

from __future__ import annotations

import logging
import signal

import trio

from naq.dashboard.serve import Dashboard
from naq.worker.worker import Worker


async def main() -> None:
    """Run both until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    worker, dashboard = Worker(["drain"], concurrency=32), Dashboard(port=0, token="benchmark")
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(dashboard.run)
            await nursery.start(worker.run)
            async for _ in signals:
                break
            dashboard.stop()
            worker.stop()


trio.run(main)
