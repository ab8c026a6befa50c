"""What a file says about more than one service: extends, groups, profiles."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from naq.exceptions import ConfigurationError, SupervisorError
from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.model.spec import (
    OnExhausted,
    ServiceSpec,
    Strategy,
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


def test_a_service_takes_the_keys_of_the_one_it_extends():
    services = parse("""
[defaults]
stop_timeout = "1s"
[services.x-base]
env = { A = "base", B = "base" }
success_exit_codes = [1, 2]
[services.worker]
extends = "x-base"
command = "work"
env.A = "worker"
depends_on = ["db"]
disabled = true
[services.worker-io]
extends = "worker"
env.C = "io"
success_exit_codes = [3]
[services.db]
command = "db"
""").services
    assert list(services) == ["worker", "worker-io", "db"]
    io = services["worker-io"]
    assert io.options["command"] == "work"
    assert io.env == {"A": "worker", "B": "base", "C": "io"}
    assert io.success_exit_codes == (3,)
    assert [d.service for d in io.depends_on] == ["db"]
    assert (io.stop_timeout, io.disabled) == (1.0, False)
    assert services["worker"].disabled


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[services.a]\ncommand='x'\nextends='bb'", "services.a.extends: no service 'bb'"),
        ("[services.a]\ncommand='x'\nextends='a'", "services.a.extends: goes in a circle: a -> a"),
        ("[services.a]\ncommand='x'\nextends=3", "expected the name of a service"),
        (
            (
                "[services.a]\ntype='callable'\ntarget='a:b'\n[services.b]\ntype='command'\n"
                "command='x'\nextends='a'"
            ),
            "services.b.extends: is of type callable, and this is a command",
        ),
        ("[services.x-b]\nnope=1\n[services.a]\nextends='x-b'\ncommand='x'", "x-b.nope: unknown"),
        ("[services.a]\ncommand='x'\nwatch={paths=['.']}", "watch: restarting on changed files"),
        ("[services.a]\ncommand='x'\nschedule={cron='* * * * *'}", "schedule: starting by a sched"),
        ("[services.a]\ncommand='x'\nstop='soon'", "services.a.stop: expected a duration"),
        (
            "[services.a]\ncommand='x'\nstop={timeout='1s'}\nstop_timeout='2s'",
            "services.a.stop_timeout: is written twice",
        ),
        ("[services.a]\ncommand='x'\numask='999'", "services.a.umask: expected mode bits"),
        ("[services.a]\ncommand='x'\nuser='nobody-here'", "there is no user 'nobody-here'"),
        ("[services.a]\ncommand='x'\nlimits={nice=99}", "services.a.limits.nice: expected"),
        ("[services.a]\ncommand='x'\nlive='notify'", 'services.a.live: expected "none"'),
        ("[services.a]\ncommand='x'\nlive={log='x'}", "services.a.live.log: unknown key"),
        (
            "[services.a]\ntype='callable'\nrun='task'\ntarget='a:b'\nwatchdog='1s'",
            "services.a.watchdog: a task has no process of its own",
        ),
        (
            "[services.a]\ntype='worker'\nrun='task'\nlimits={max_age='1h', nice=3}",
            "services.a.limits: a task has no process of its own for nice",
        ),
        (
            "[services.a]\ntype='nats'\n[services.b]\ntype='nats'",
            "services.b.type: there may be one service of type nats, and a is one",
        ),
        ("[control]\nmetrics='9465'\n[services.a]\ncommand='x'", 'metrics: expected "host:port"'),
        ("[control]\nnats=true\n[services.a]\ncommand='x'", "nats: control over NATS does not"),
        (
            "[services.a]\ntype='nats'\nlisten='localhost'",
            "services.a.listen: expected an IP address",
        ),
        ("[services.a]\ncommand='x'\nenv_file=['gone']", "a.env_file: gone: no such file"),
        ("[services.a]\ncommand='x'\n[hooks]\non_boom='x'", "hooks.on_boom: unknown key"),
        ("[services.a]\ncommand='x'\n[groups.g]", "groups.g.members: missing"),
        ("[services.a]\ncommand='x'\n[groups.g]\nmembers=['b']", "groups.g.members: no service"),
        (
            "[services.a]\ncommand='x'\n[groups.g]\nmembers=['a']\n[groups.h]\nmembers=['a']",
            "groups.h.members: a is in group g already",
        ),
        (
            "[services.a]\ncommand='x'\nrestart.on_exhausted='group'",
            "services.a.restart.on_exhausted: the service is in no group",
        ),
    ],
)
def test_problems(toml, problem):
    found = problems(toml)
    assert any(problem in text for text in found), found


def test_one_of_a_kind_for_each_profile():
    toml = "[services.a]\ntype='nats'\nprofiles=['dev']\n[services.b]\ntype='nats'\n"
    assert problems(toml) != []
    assert parse(toml + "profiles=['prod']").services
    assert not parse(toml + "disabled=true").is_active("b")


def test_a_problem_of_a_base_is_reported_once():
    found = problems("[services.a]\ncomand='x'\n[services.b]\nextends='a'\ncommand='y'")
    assert found == ["services.a.comand: unknown key; did you mean 'command'?"]


def test_groups_are_in_the_order_of_dependencies():
    topology = parse("""
[services.web]
command = "web"
depends_on = ["db"]
[services.db]
command = "db"
[groups.core]
members = ["web", "db"]
strategy = "rest_for_one"
on_exhausted = "shutdown"
""")
    group = topology.groups["core"]
    assert group.members == ("db", "web")
    assert (group.strategy, group.on_exhausted) == (Strategy.REST_FOR_ONE, OnExhausted.SHUTDOWN)


PROFILES = """
[services.always]
command = "x"
[services.io]
command = "x"
profiles = ["default", "io"]
[services.dev]
command = "x"
profiles = ["dev"]
depends_on = ["tool"]
[services.tool]
command = "x"
profiles = ["tools"]
[services.off]
command = "x"
disabled = true
"""


@pytest.mark.parametrize(
    ("profiles", "active"),
    [
        ((), {"always", "io"}),
        (("io",), {"always", "io"}),
        (("dev",), {"always", "dev", "tool"}),
        (("dev", "io"), {"always", "dev", "tool", "io"}),
    ],
)
def test_profiles(profiles, active):
    assert parse(PROFILES, profiles=profiles).active == active


def test_an_unknown_profile():
    with pytest.raises(SupervisorError, match="no profile 'nope'; there are: default, dev, io"):
        parse(PROFILES, profiles=["nope"])


def test_a_selection_without_dependencies_does_not_wait_for_them():
    topology = config.select(parse(PROFILES), ["dev"], dependencies=False)
    assert topology.active == {"dev"}
    assert topology.services["dev"].depends_on == ()
