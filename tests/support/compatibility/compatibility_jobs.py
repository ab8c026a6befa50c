"""Jobs that an older naq and this one both import."""

from __future__ import annotations

from pathlib import Path

import naq


@naq.task
def add(a: int, b: int) -> int:
    return a + b


def echo(value):
    return value


async def everything(job_id):
    """What naq itself returns: values of classes that are not public."""
    async with naq.Queue() as queue:
        return [
            await queue.job(job_id).refresh(),
            await queue.stats(),
            (await naq.list_workers())[0],
        ]


def once(path, value):
    """Fail the first time."""
    file = Path(path)
    if not file.exists():
        file.touch()
        raise ValueError(f"not yet: {value}")
    return value, naq.current_job().attempt


def note(path):
    with Path(path).open("a") as file:
        file.write(f"{naq.current_job().id}\n")


@naq.task(cron="0 0 1 1 *", schedule_id="declared", max_retries=2)
def yearly():
    pass
