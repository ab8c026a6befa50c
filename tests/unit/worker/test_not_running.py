"""What a worker and a scheduler tell before they run: numbers from the start, or a sentence."""

from __future__ import annotations

import pytest

from naq.exceptions import ConfigurationError
from naq.schedules.scheduler import Scheduler
from naq.settings import Settings
from naq.worker.worker import Worker

SETTINGS = Settings()


def test_a_worker_has_its_numbers_from_the_start():
    worker = Worker(["a", "b"], name="early", settings=SETTINGS)

    assert (worker.id, worker.queues) == ("early", ["a", "b"])
    assert (worker.processed, worker.running, worker.paused) == (0, 0, False)
    assert list(worker.tally.counts()) == []
    assert not worker.connected
    assert worker.unready() == "starting"
    assert worker.held("any") is None
    assert worker.about("any") is None
    assert worker.about("any", stop=True) is None
    worker.pause()
    worker.stop()
    assert worker.paused


def test_a_scheduler_has_its_numbers_from_the_start():
    scheduler = Scheduler(instance_id="early", settings=SETTINGS)

    assert (scheduler.id, scheduler.ticks, scheduler.running) == ("early", 0, 0)
    assert not scheduler.connected
    assert scheduler.unready() == "starting"
    scheduler.stop()


@pytest.mark.parametrize(
    ("early", "what"),
    [
        (Worker(name="early", settings=SETTINGS), "worker early"),
        (Scheduler(instance_id="early", settings=SETTINGS), "scheduler early"),
    ],
)
def test_what_cannot_be_told_yet_is_said_in_a_sentence(early, what):
    with pytest.raises(
        ConfigurationError, match=rf"^{what} is not running yet: call run\(\) first$"
    ):
        early.info()
