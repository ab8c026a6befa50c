"""Tasks with everything a task may say of its jobs; the module is found by its name."""

from __future__ import annotations

from datetime import timedelta

import naq

POLICY = {
    "max_retries": 4,
    "retry_delay": [1, timedelta(seconds=2)],
    "retry_strategy": "linear",
    "retry_jitter": 0.25,
    "retry_on": [OSError, "elsewhere:Error"],
    "ignore_on": (KeyError,),
    "timeout": timedelta(minutes=1),
    "expires": 3_600,
    "result_ttl": 600,
    "meta": {"team": "mail"},
}


@naq.task(queue="mail", **POLICY)
def everything(number, *, text="x"):
    return number, text


@naq.task
def nothing(number, *, text="x"):
    return number, text


class Group:
    @classmethod
    @naq.task(queue="mail", max_retries=4)
    def everything(cls, number, *, text="x"):
        return number, text
