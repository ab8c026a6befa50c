"""What hooks and watchers are told about a replica."""

from __future__ import annotations

from naq.supervisor.model.board import LastExit, Status
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.project.events import describe


def test_a_report_has_the_promised_fields():
    end = LastExit(Cause(kind=CauseKind.SHUTDOWN), None, 15, 0.0)
    row = describe([Status(service="s", replica=1, name="s", last_exit=end)], 5.0)[0]
    promised = (
        "service replica state want ready pid restarts uptime_s rss_bytes cpu_percent last_exit"
    )
    assert set(promised.split()) <= set(row)
    assert row["last_exit"]["cause"] == "shutdown"
    assert row["last_exit"]["signal"] == 15
    assert row["last_exit"]["at"] == "1970-01-01T00:00:00.000+00:00"
