"""Read pickles, also those of releases in which naq's modules had other names.

A pickle names each class and function by its module. Today only public names are written, as names
of ``naq`` itself (:mod:`naq.base.public`). Older releases wrote the module in which each stood, of
public names and of the values that a job may be given or return.
"""

from __future__ import annotations

import io
import pickle
from importlib import import_module
from typing import Any

__all__ = ["loads"]

_MOVED = {
    "naq._delayed:DelayedJob": "naq.queue.delayed:DelayedJob",
    "naq._queues:QueueStats": "naq.queue.numbers.stats:QueueStats",
    "naq._schedule:ScheduleRecord": "naq.schedules.schedule:ScheduleRecord",
    "naq._tally:Minute": "naq.queue.numbers.tally:Minute",
    "naq._tally:Totals": "naq.queue.numbers.tally:Totals",
    "naq.exceptions:DuplicateJobError": "naq.exceptions:JobError",
    "naq.job:Attempt": "naq.jobs.job:Attempt",
    "naq.job:DeadLetter": "naq.jobs.job:DeadLetter",
    "naq.job:Failure": "naq.jobs.job:Failure",
    "naq.job:JobMessage": "naq.jobs.job:JobMessage",
    "naq.job:JobRecord": "naq.jobs.job:JobRecord",
    "naq.presence:WorkerInfo": "naq.jobs.presence:WorkerInfo",
    "naq.serializers:Codec": "naq.jobs.coding.codec:Codec",
}


def loads(data: bytes) -> Any:
    """Return the value that was pickled; raises what unpickling it raises."""
    try:
        return pickle.loads(data)
    except (ImportError, AttributeError):
        if b"naq" not in data:
            raise
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    """Looks a second time for names of naq that are not where the pickle says."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            if module.partition(".")[0] != "naq":
                raise
            found = _MOVED.get(f"{module}:{name}")
            if found is not None:
                module, _, name = found.partition(":")
            elif name in import_module("naq").__all__:
                module = "naq"
            return super().find_class(module, name)
