"""From TOML to a topology, and every way to get it wrong."""

from __future__ import annotations

import signal
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.exceptions import ConfigurationError, SupervisorError
from naq.services import DEFAULT_TOPOLOGY, KINDS
from naq.supervisor.config import read as config
from naq.supervisor.config.keys import LOGGING, PROJECT, SERVICE
from naq.supervisor.config.subtables import READY_TABLE as _READY_TABLE
from naq.supervisor.config.subtables import RESTART_TABLE as _RESTART_TABLE
from naq.supervisor.kinds.schema import Apply
from naq.supervisor.model.spec import (
    Backoff,
    Condition,
    ExitPolicy,
    OnExhausted,
    Policy,
    Readiness,
    Run,
)

HERE = Path("/srv/shop")


def parse(toml: str):
    return config.parse(tomllib.loads(toml), kinds=KINDS, directory=HERE, file="s.toml")


def problems(toml: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(toml)
    return [text.removeprefix("s.toml: ") for text in caught.value.problems]


def one(body: str, more: str = ""):
    """The service `s` of a file with it."""
    text = f"[services.s]\n{body}\n{more}"
    return parse(text if "command" in body else text.replace("]", ']\ncommand = "x"', 1)).services[
        "s"
    ]


def test_a_minimal_file():
    topology = parse('[services.web]\ncommand = "serve --fast"')
    web = topology.services["web"]
    assert topology.name == "shop"
    assert topology.exit_policy is ExitPolicy.WHEN_ALL_DONE
    assert web.options == {"command": "serve --fast", "shell": False}
    assert (web.type, web.run, web.replicas) == ("command", Run.PROCESS, 1)
    assert web.restart.policy is Policy.ALWAYS
    assert web.ready is None
    assert (web.stop_signal, web.stop_timeout) == (15, 10.0)


def test_everything_at_once():
    topology = parse("""
version = 1
x-anchors = { a = 1 }
[project]
name = "shop"
shutdown_timeout = "90s"
exit_policy = "never"
env = { A = "1", B = false, C = 3 }
[logging]
format = "json"
level = "debug"
buffer = 10
max_line = "1KiB"
[defaults]
stop_timeout = "5s"
restart = { max_restarts = 3, backoff = { initial = "1s" } }
env.D = "d"
x-note = "ignored"
[services.db]
command = ["db", "--port", "{port}"]
port = 5432
ready = { tcp = "127.0.0.1:{port}", period = "2s" }
restart = { backoff = { max = "5s" }, on_exhausted = "shutdown" }
[services.migrate]
command = "migrate"
oneshot = true
depends_on = ["db"]
[services.web]
command = "web"
replicas = 3
stop_signal = "SIGINT"
cwd = "web"
env.E = "e"
[services.web.depends_on]
db = { condition = "started", timeout = "1m" }
migrate = {}
""")
    assert topology.env == {"A": "1", "B": None, "C": "3"}
    assert topology.logging.max_line == 1024
    db, migrate, web = topology.services.values()
    assert db.restart.backoff == Backoff(initial=1.0, maximum=5.0)
    assert (db.restart.max_restarts, db.restart.on_exhausted) == (3, OnExhausted.SHUTDOWN)
    assert db.ready == Readiness(probe="tcp", target=("127.0.0.1:{port}",), period=2.0)
    assert migrate.restart.policy is Policy.ON_FAILURE
    assert migrate.restart.on_exhausted is OnExhausted.FAIL
    assert web.stop_signal == signal.SIGINT
    assert web.env == {"D": "d", "E": "e"}
    assert [(d.service, d.condition, d.timeout) for d in web.depends_on] == [
        ("db", Condition.STARTED, 60.0),
        ("migrate", Condition.COMPLETED, None),
    ]


def test_lists_replace_and_tables_merge():
    service = one(
        "success_exit_codes = [3]\nenv.A = 'mine'",
        "[defaults]\nsuccess_exit_codes = [1, 2]\nenv = { A = 'theirs', B = 'b' }",
    )
    assert service.success_exit_codes == (3,)
    assert service.env == {"A": "mine", "B": "b"}


def test_a_ready_table_replaces_a_lower_one_whole():
    service = one("ready = { log = 'up' }", "[defaults]\nready = { http = 'http://x/' }")
    assert service.ready == Readiness(probe="log", target=("up",))


def test_short_forms():
    assert one('restart = "never"').restart.policy is Policy.NEVER
    assert one('restart.backoff = "2s"').restart.backoff == Backoff(
        initial=2.0, maximum=2.0, factor=1.0
    )
    assert one('ready = "notify"').ready == Readiness(probe="notify")


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("verison = 1", "verison: unknown key; did you mean 'version'?"),
        ("version = 2", "version: this naq reads version 1, not 2"),
        ("project = 3", "project: expected a table, got the number 3"),
        ("[project]\nname = 'a b'", "project.name: use letters"),
        ("[project]\nexit_policy = 'nver'", "did you mean 'never'?"),
        ("[logging]\nlevel = 'loud'", "logging.level: 'loud' is not one of debug"),
        ("[services.'a b']\ncommand='x'", 'services."a b": a service needs another name'),
        ("[services.naq]\ncommand='x'", "services.naq: a service needs another name"),
        ("[services.a]", "services.a.command: missing"),
        ("[services]\na = 3", "services.a: expected a table"),
        ("[services.a]\ncommand=[]", "services.a.command: names no program"),
        ("[services.a]\ncommand=['x', 3]", "services.a.command: expected a list of strings"),
        ('[services.a]\ncommand="it\'s"', "services.a.command: cannot be split"),
        ("[services.a]\ncommand=['x']\nshell=true", "services.a.shell: needs the command as one"),
        ("[services.a]\ncommand='x {port}'", "services.a.command: uses {port}"),
        ("[services.a]\ncommand='x'\nconcurency=3", "services.a.concurency: unknown key"),
        ("[services.a]\ncommand='x'\nreplicas='3'", "expected a whole number from 0"),
        ("[services.a]\ncommand='x'\nreplicas=true", "got the boolean true"),
        ("[services.a]\ncommand='x'\nstop_signal='FOO'", "expected a signal"),
        ("[services.a]\ncommand='x'\nstop_timeout=-1", "a duration cannot be -1"),
        ("[services.a]\ncommand='x'\nstart_timeout=0", "expected a duration above zero"),
        ("[services.a]\ncommand='x'\nrun='task'", "services.a.run: type command runs as process"),
        (
            "[services.a]\ncommand='x'\nrestart='allways'",
            "services.a.restart: 'allways' is not one of",
        ),
        ("[services.a]\ncommand='x'\nrestart.backof=1", "services.a.restart.backof: unknown key"),
        (
            "[services.a]\ncommand='x'\nrestart.backoff.jitter=2",
            "restart.backoff.jitter: expected a",
        ),
        (
            "[services.a]\ncommand='x'\nsuccess_exit_codes=[0, 256]",
            "success_exit_codes[1]: expected",
        ),
        (
            "[services.a]\ncommand='x'\nenv.A=true",
            "services.a.env.A: expected a string, a number, or",
        ),
        (
            "[services.a]\ncommand='x'\nenv.A='${B:?set B}'",
            "services.a.env: A: B is not set: set B",
        ),
        ("[services.a]\ncommand='x'\nenv.A='${B-x}'", "services.a.env: A: '${B-x}' is not one of"),
        ("[services.a]\ncommand='x'\nenv.A='{port}'", "services.a.env: A: uses {port}"),
        ("[services.a]\ncommand='x'\nready={}", "services.a.ready: needs exactly one of http"),
        ("[services.a]\ncommand='x'\nready='http'", 'services.a.ready: expected "notify", "none"'),
        ("[services.a]\ncommand='x'\nready={log='('}", "ready.log: not a regular expression"),
        ("[services.a]\ncommand='x'\nready={http='x'}", "ready.http: expected an http://"),
        ("[services.a]\ncommand='x'\nready={tcp='x'}", 'ready.tcp: expected "host:port"'),
        ("[services.a]\ncommand='x'\nready={tcp='h:{port}'}", "services.a.ready: uses {port}"),
        ("[services.a]\ncommand='x'\ndepends_on='b'", "depends_on: expected a list of services"),
        ("[services.a]\ncommand='x'\ndepends_on=['b']", "services.a.depends_on: no service 'b'"),
        ("[services.a]\ncommand='x'\ndepends_on=['a']", "dependency cycle: a -> a"),
        ("[services.a]\ncommand='x'\ndepends_on={b='redy'}", "depends_on.b: 'redy' is not one of"),
        (
            "[services.a]\ncommand='x'\ndepends_on={b='completed'}\n[services.b]\ncommand='x'",
            "services.a.depends_on.b: b is restarted whenever it ends, so it is never completed",
        ),
        ("[services.a]\ntype='callable'\ntarget='x'", 'target: expected "package.module:function"'),
        ("[services.a]\ntype='callable'", "services.a.target: missing"),
        ("[services.a]\ntype='comand'", "services.a.type: 'comand' is not one of command"),
        ("", "services: there are none"),
    ],
)
def test_problems_name_the_table_and_the_key(toml, problem):
    found = problems(toml)
    assert any(problem in text for text in found), found


def test_all_problems_come_at_once_and_not_their_consequences():
    found = problems(
        "[defaults]\nstop_timeout = 'x'\n[services.a]\ncomand = 'x'\nreplicas = -1\n"
        "[services.b]\ncommand = 'x'\n"
    )
    assert [text.partition(":")[0] for text in found] == [
        "defaults.stop_timeout",
        "services.a.comand",
        "services.a.replicas",
    ]


def test_a_variable_may_come_from_the_project_or_from_a_key_above():
    parse("[project.env]\nA='1'\n[services.s]\ncommand='x'\nenv={B='${A:?no A}', C='${B:?no B}'}")


def test_a_file_is_named_in_its_problems(tmp_path):
    path = tmp_path / "s.toml"
    for content, problem in [
        (b"a = ", "not TOML: Invalid value (at end of document)"),
        (b"\xff", "cannot be read"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            config.load(path, KINDS)
        assert str(caught.value).startswith(f"{path}: {problem}")


def test_a_selection_brings_its_dependencies():
    topology = parse(
        "[services.a]\ncommand='x'\ndepends_on=['b']\n[services.b]\ncommand='x'\n[services.c]\ncommand='x'"
    )
    assert config.select(topology, ["a"]).active == {"a", "b"}
    assert config.select(topology, []) is topology
    with pytest.raises(SupervisorError, match="no service 'z'"):
        config.select(topology, ["z"])


def test_every_key_has_a_schema_a_text_and_an_apply_class():
    for name, key in SERVICE.items():
        assert key.doc, name
        assert isinstance(key.apply, Apply)
        assert isinstance(key.type.schema, dict | type(SERVICE)), name


# What a person could write anywhere: known and unknown keys, right and wrong values.
WORDS = [
    *SERVICE,
    *_READY_TABLE.keys,
    *_RESTART_TABLE.keys,
    "command",
    "shell",
    "target",
    "initial",
]


leaves = st.one_of(
    st.booleans(),
    st.integers(-2, 300),
    st.floats(allow_nan=True),
    st.sampled_from(
        ["10s", "always", "ready", "notify", "callable", "a:b", "{port}", "${X:?y}", ""]
    ),
    st.text(max_size=5),
)


tables = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from(["services", "defaults", "project", "logging", "version"]),
        st.dictionaries(st.sampled_from(["a", "b", *WORDS]), tables, max_size=4) | tables,
    )
)
def test_any_document_is_a_topology_or_a_list_of_problems(document):
    try:
        topology = config.parse(document, kinds=KINDS, directory=HERE)
    except ConfigurationError as exc:
        caught = exc.problems
    else:
        caught = ()
        assert topology.services
    assert all(isinstance(text, str) for text in caught)


def test_every_key_is_in_the_guide():
    guide = (Path(__file__).parents[4] / "docs" / "supervisor.md").read_text()
    missing = [
        name for name in (*SERVICE, *PROJECT.keys, *LOGGING.keys) if f"`{name}`" not in guide
    ]
    assert missing == []


def test_the_built_in_topology_names_nats_a_worker_and_a_scheduler():
    assert set(DEFAULT_TOPOLOGY["services"]) == {"nats", "worker", "scheduler", "dashboard"}
