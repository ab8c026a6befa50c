"""What `naq validate` advises against."""

from __future__ import annotations

import tomllib

from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.config.advice import advice, fastest_exhaustion
from naq.supervisor.model.spec import (
    ServiceSpec,
)


def test_advice(tmp_path):
    found = advice(
        config.parse(
            tomllib.loads("""
[project]
shutdown_timeout = "15s"
[services.db]
command = "no-such-program-anywhere"
port = 7000
replicas = 3
[services.web]
command = ["true"]
port = 7002
depends_on = ["db"]
cwd = "gone"
rolling = "start-first"
[services.slow]
command = "true"
restart = { backoff = "1m", max_restarts = 10, within = "5m" }
[services.probed]
command = "true"
ready = { exec = ["no-such-probe"] }
[hooks]
on_failed = ["no-such-hook", "{service}"]
on_ready = "true"
"""),
            kinds=KINDS,
            directory=tmp_path,
        )
    )
    expected = [
        "services.db.command: there is no program 'no-such-program-anywhere'",
        f"services.web.cwd: there is no directory {tmp_path / 'gone'}",
        "services.web.rolling: with start-first, two runs want the same port",
        "services.web.depends_on: db has no `ready`",
        "services.slow.restart: max_restarts = 10 is never reached",
        "services.probed.ready: there is no program 'no-such-probe'",
        "hooks.on_failed: there is no program 'no-such-hook'",
        "services.web.port: web and db.3 both have port 7002",
        "project.shutdown_timeout: 15 s is less than the 20 s",
    ]
    for text in expected:
        assert any(text in line for line in found), (text, found)
    assert len(found) == len(expected)


def test_the_defaults_can_reach_their_limit():
    spec = ServiceSpec(name="s")
    assert fastest_exhaustion(spec) < spec.restart.within
