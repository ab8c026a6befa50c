"""The aftermath of a worker, which kills itself at the step named by its first argument."""

from __future__ import annotations

import os
import signal
import sys

from naq.jobs.results import Results
from naq.nats.connection import Connection
from naq.worker.life import aftermath


def kill(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


STEPS = {"before the note": (Results, "put"), "before the hand-back": (Connection, "ack")}

if __name__ == "__main__":
    step, *arguments = sys.argv[1:]
    if step:
        setattr(*STEPS[step], kill)
    aftermath.main(arguments)
