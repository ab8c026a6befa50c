"""A worker that kills itself with SIGKILL at the step named by its first argument."""

from __future__ import annotations

import os
import signal
import sys

from naq.cli import main
from naq.nats import connection
from naq.worker import handler, settle


def kill(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


STEPS = {
    "when the job has arrived": (handler.Handler, "take"),
    "before the function is called": (handler, "execute"),
    "before the result is sent": (settle.Settler, "complete_soon"),
    "after the result is stored, before the ack": (connection.Connection, "ack"),
    "after the record is stored, before the job is handed back": (settle.Settler, "_give_back"),
    "after the schedule of a retry is stored, before the ack": (connection.Connection, "ack"),
    "after the dead letter is stored, before the record": (settle.Settler, "_finish"),
}

if __name__ == "__main__":
    step = sys.argv[1]
    if step:
        where, name = STEPS[step]
        setattr(where, name, kill)
    main(["worker", "default", "--name", "doomed"])
