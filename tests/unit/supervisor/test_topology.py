"""What a file says about more than one service: extends, profiles, groups, hooks, changes to it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from naq.exceptions import ConfigurationError, SupervisorError
from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.config.advice import advice, fastest_exhaustion
from naq.supervisor.config.recipe import Recipe, setting
from naq.supervisor.config.show import FORMATS, chain, draw, resolved, schema
from naq.supervisor.model.spec import (
    Limits,
    OnExhausted,
    Order,
    Readiness,
    Rotation,
    ServiceSpec,
    Strategy,
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


# ------------------------------------------------------------------ extends


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


# ------------------------------------------------------------------ keys


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


# ------------------------------------------------------------------ what is active

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


# ------------------------------------------------------------------ changes from the command line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("services.web.replicas=2", (("services", "web", "replicas"), 2)),
        ("a.b='x=y'", (("a", "b"), "x=y")),
        ("a.b=plain text", (("a", "b"), "plain text")),
        ("a=[1, 2]", (("a",), [1, 2])),
        ("a=", (("a",), "")),
    ],
)
def test_settings(text, expected):
    assert setting(text) == expected


@pytest.mark.parametrize("text", ["", "x", "=1", "a..b=1"])
def test_what_is_no_setting(text):
    with pytest.raises(ConfigurationError, match="expected KEY=VALUE"):
        setting(text)


def test_a_recipe_lays_settings_over_the_file(tmp_path):
    file = tmp_path / "supervisor.toml"
    file.write_text(PROFILES)
    (tmp_path / "more.env").write_text("A=1\n")
    recipe = Recipe(
        file=file,
        settings=(setting("services.always.replicas=3"), setting("project.name=other")),
        env_files=("more.env",),
        profiles=("dev",),
        services=("dev",),
    )
    topology = recipe.read(KINDS, tmp_path)
    assert topology.name == "other"
    assert topology.services["always"].replicas == 3
    assert topology.env_file == ("more.env",)
    assert topology.active == {"dev", "tool"}
    bad = Recipe(file=file, settings=(setting("services.always.command.x=3"),))
    with pytest.raises(ConfigurationError, match="command is not a table"):
        bad.read(KINDS, tmp_path)


# ------------------------------------------------------------------ validate, schema, graph


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


@pytest.fixture(scope="module")
def validator():
    described = schema(KINDS)
    jsonschema.Draft202012Validator.check_schema(described)
    assert json.loads(json.dumps(described)) == described
    return jsonschema.Draft202012Validator(described)


ROOT = Path(__file__).parents[3]
SHOWN = "".join((ROOT / name).read_text() for name in ("docs/supervisor.md", "README.md"))
# Whole tables; what begins with a key is a piece of one.
EXAMPLES = re.findall(r"^```toml\n((?:version|\[).*?)^```", SHOWN, re.MULTILINE | re.DOTALL)
EXAMPLES = [text for text in EXAMPLES if "[services." in text]


@pytest.mark.parametrize("toml", [PROFILES, (ROOT / "supervisor.toml").read_text(), *EXAMPLES])
def test_the_schema_takes_what_is_shown_to_people(validator, toml):
    assert [error.message for error in validator.iter_errors(tomllib.loads(toml))] == []


@pytest.mark.parametrize(
    "toml",
    [
        "[services.a]\nnope = 1",
        "[services.a]\ncommand = 'x'\nqueues = ['x']",
        "[services.a]\ntype = 'worker'\ncommand = 'x'",
        "[services.a]\ntype = 'nope'",
        "[services.a]\nextends = 'b'\nnope = 1\n[services.b]\ncommand = 'x'",
        "[services.a]\ncommand = 'x'\nrestart = { policy = 'sometimes' }",
        "[project]\nnope = 1\n[services.a]\ncommand = 'x'",
        "services = {}",
    ],
)
def test_the_schema_marks_what_is_wrong(validator, toml):
    assert list(validator.iter_errors(tomllib.loads(toml))) != []


def test_the_resolved_form_is_json():
    plain = json.loads(json.dumps(resolved(parse(PROFILES))))
    assert plain["active"] == ["always", "io"]
    assert plain["services"]["always"]["restart"]["backoff"]["initial"] == 0.5
    assert plain["services"]["always"]["stop_signal"] == "SIGTERM"


def test_drawings():
    topology = parse(PROFILES)
    assert draw(topology, "ascii", {"dev": 0.25}).splitlines() == [
        "always",
        "io",
        "tool",
        "└─ dev 250ms  [ready]",
        "off",
    ]
    assert "s3 -->|ready| s2" in draw(topology, "mermaid")
    assert '"tool" -> "dev" [label="ready"];' in draw(topology, "dot")
    assert json.loads(draw(topology, "json"))[2]["depends_on"] == [
        {"service": "tool", "condition": "ready"}
    ]
    assert set(FORMATS) == {"ascii", "mermaid", "dot", "json"}


def test_the_critical_chain_is_the_slowest_path():
    edges = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    assert chain(edges, {"a": 1.0, "b": 0.1, "c": 2.0, "d": 0.5}) == ["a", "c", "d"]
    assert chain({}, {}) == []
