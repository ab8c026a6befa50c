"""What imports modules by the names they had in the first release goes on working."""

from __future__ import annotations

import subprocess
import sys

import pytest

FIRST = {
    "connection": "connect current_connection use_connection Connection",
    "deadletters": "DeadLetters",
    "exceptions": "NaqConnectionError",
    "job": "Job JobRecord JobStatus DeadLetter",
    "presence": "WorkerInfo list_workers",
    "queue": "Queue",
    "results": "Results",
    "scheduler": "Scheduler",
    "schedules": "Schedules",
    "serializers": "Codec",
    "server": "EmbeddedServer find_binary run_server",
    "services": "KINDS",
    "settings": "Settings",
    "worker": "Worker",
}


@pytest.mark.parametrize("module", FIRST)
def test_each_module_is_found_first_of_all(module):
    names = ", ".join(FIRST[module].split())
    code = f"from naq.{module} import {names}; import naq; print(naq.connect.__module__)"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (ran.stderr, ran.stdout) == ("", "naq\n")
