"""What the log says about a replica."""

from __future__ import annotations

import pytest

from naq.supervisor.model.causes import Cause
from naq.supervisor.model.lifecycle import Complete, Fail, History, Restart
from naq.supervisor.model.spec import ServiceSpec
from naq.supervisor.replica import announce


@pytest.mark.parametrize(
    ("said", "text", "level"),
    [
        (announce.ready(7, 0.0234, waited=True), "ready after 23ms (pid 7)", "info"),
        (announce.ready(7, 0.02, waited=False), "running (pid 7)", "info"),
        (announce.ready(None, 1.5, waited=True), "ready after 1.5s", "info"),
        (announce.skipped("db is FAILED"), "skipped: db is FAILED", "warning"),
        (announce.still_stopping(9.04), "is still stopping; to be killed in 9s", "info"),
    ],
)
def test_announcements(said, text, level):
    assert said == (text, level)


def test_ends_are_announced_with_what_follows():
    spec, cause, history = ServiceSpec(name="s"), Cause.of_returncode(1), History()
    said = [
        announce.ended(cause, Restart(0.5, history), spec, 1).text,
        announce.ended(cause, Restart(0.0, history), spec, 0).text,
        announce.ended(cause, Restart(30.0, history, degraded=True), spec, 9).text,
        announce.ended(cause, Fail("restart = never", history), spec, 0).text,
        announce.ended(cause, Complete(history), spec, 0).text,
    ]
    assert said == [
        "ended: exit code 1; restart in 500ms (1 of 8 in 5m)",
        "ended: exit code 1; restart",
        "is in a crash loop: exit code 1; next try in 30s",
        "failed: exit code 1; not restarted: restart = never",
        "completed",
    ]
