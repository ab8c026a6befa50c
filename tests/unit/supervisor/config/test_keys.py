"""Keys of one service: stop, health, limits, user."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from naq.exceptions import ConfigurationError
from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.model.spec import (
    Limits,
    Order,
    Readiness,
    Rotation,
    ServiceSpec,
    Watchdog,
)

HERE = Path("/srv/shop")


def parse(toml: str, **more):
    document = tomllib.loads(toml)
    return config.parse(document, kinds=KINDS, directory=HERE, file="s.toml", **more)


def problems(toml: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(toml)
    return [text.removeprefix("s.toml: ") for text in caught.value.problems]


def one(body: str) -> ServiceSpec:
    return parse(f"[services.s]\ncommand = 'x'\n{body}").services["s"]


def test_the_forms_of_stop():
    assert one("stop = '30s'").stop_timeout == 30.0
    spec = one("stop = { signal = 'INT', timeout = '20s', pre = ['curl', 'x'] }")
    assert (spec.stop_signal, spec.stop_timeout, spec.stop_pre) == (2, 20.0, ("curl", "x"))


def test_health_limits_and_rolling():
    spec = one("""
watchdog = "20s"
limits = { max_memory = "512MiB", max_age = "12h", nofile = 65536, nice = 5 }
rolling = "start-first"
logging = { file = "logs/{replica}.log", rotate = "1MiB" }
live = { tcp = "127.0.0.1:1", initial_delay = "5s", failures = 2 }
umask = "027"
""")
    assert spec.watchdog == Watchdog(timeout=20.0)
    assert spec.limits == Limits(max_memory=2**29, max_age=43200.0, nofile=65536, nice=5)
    assert spec.rolling.order is Order.START_FIRST
    assert spec.rolling.parallel == 1
    assert spec.logging.rotate == Rotation(max_size=2**20)
    assert spec.umask == 0o027
    assert spec.live == Readiness(
        probe="tcp", target=("127.0.0.1:1",), initial_delay=5.0, failures=2
    )


def test_only_root_may_start_programs_as_somebody_else(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert problems("[services.s]\ncommand='x'\nuser=0") == [
        "services.s.user: only root can start programs as somebody else"
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert one("user = 'root'").user == "root"
