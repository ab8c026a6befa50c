"""What a reload does, as values."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.config.keys import SERVICE
from naq.supervisor.kinds.schema import Spread
from naq.supervisor.project.plan import Action, compare

BASE = "[services.a]\ncommand='x'\n[services.b]\ncommand='y'\ndepends_on=['a']\n"


def topology(toml: str):
    return config.parse(tomllib.loads(toml), kinds=KINDS, directory=Path("/srv"))


def plan(old: str, new: str, **more):
    options = {"running": {}, "digests": {}, **more}
    return compare(topology(old), topology(new), **options)


def actions(found) -> dict[str, Action]:
    return {change.service: change.action for change in found.changes}


def test_nothing_changed():
    found = plan(BASE, BASE)
    assert found.changes == ()
    assert found.lines() == ["nothing has changed"]


@pytest.mark.parametrize(
    ("addition", "action", "key"),
    [
        ("restart='never'", Action.LIVE, "restart"),
        ("ready={tcp='h:1'}", Action.LIVE, "ready"),
        ("live={tcp='h:1'}", Action.LIVE, "live"),
        ("critical=true", Action.LIVE, "critical"),
        ("stop='3s'", Action.LIVE, "stop_timeout"),
        ("limits={max_memory='1MiB'}", Action.LIVE, "limits.max_memory"),
        ("limits={nofile=10}", Action.RESTART, "limits.nofile"),
        ("replicas=3", Action.SCALE, "replicas"),
        ("env.A='1'", Action.RESTART, "env"),
        ("cwd='/'", Action.RESTART, "cwd"),
        ("port=80", Action.RESTART, "port"),
        ("shell=true", Action.RESTART, "shell"),
        ("watchdog='1s'", Action.RESTART, "watchdog"),
        ("depends_on=['b']", Action.GRAPH, "depends_on"),
    ],
)
def test_each_key_calls_for_as_little_as_possible(addition, action, key):
    old = "[services.a]\ncommand='x'\n[services.b]\ncommand='y'\n"
    found = plan(old, old.replace("command='x'", f"command='x'\n{addition}"))
    assert actions(found) == {"a": action}
    assert found.changes[0].keys == (key,)


def test_services_come_and_go():
    found = plan(BASE, "[services.a]\ncommand='x'\n[services.c]\ncommand='z'\n")
    assert actions(found) == {"b": Action.REMOVE, "c": Action.START}
    assert found.lines() == ["b is stopped and removed", "c is started"]
    kept = plan(BASE, "[services.a]\ncommand='x'\n", prune=False)
    assert kept.changes == ()


def test_a_service_may_leave_or_join_what_is_active():
    off = BASE.replace("command='y'", "command='y'\ndisabled=true")
    assert Action.STOP in plan(BASE, off).changes[0].actions
    assert Action.START in plan(off, BASE).changes[0].actions


def test_several_changes_of_one_service_are_one():
    found = plan(BASE, BASE.replace("command='x'", "command='z'\nreplicas=2\ncritical=true"))
    (change,) = found.changes
    assert change.actions == {Action.RESTART, Action.SCALE, Action.LIVE}
    assert change.keys == ("replicas", "critical", "command")
    assert str(change) == "a is restarted: replicas, critical, command"


def test_scaling_says_the_numbers():
    found = plan(BASE, BASE.replace("command='x'", "command='x'\nreplicas=4"))
    assert found.lines() == ["a is scaled: 1 -> 4"]


def test_the_environment_of_the_project_concerns_everybody():
    found = plan(BASE, "[project.env]\nA='1'\n" + BASE)
    assert actions(found) == {"a": Action.RESTART, "b": Action.RESTART}


def test_the_project_takes_over_or_waits_for_the_next_start():
    more = "[project]\nname='n'\nshutdown_timeout='5s'\n[hooks]\non_failed='x'\n"
    found = plan("[project]\nname='m'\n" + BASE, more + BASE)
    assert found.changes == ()
    assert found.project == ("shutdown_timeout", "hooks")
    assert found.later == ("project.name",)


def test_a_changed_environment_file_restarts_runs_that_began_with_the_old_one():
    found = plan(BASE, BASE, running={"a": {"old"}, "b": {"new"}}, digests={"a": "new", "b": "new"})
    assert actions(found) == {"a": Action.RESTART}
    assert found.changes[0].keys == ("env_file",)


def test_every_key_has_a_place_in_the_plan():
    """A key without an attribute of the same name would never be compared."""
    spec = topology(BASE).services["a"]
    missing = [
        name
        for name, key in SERVICE.items()
        if not isinstance(key.type, Spread) and not hasattr(spec, name)
    ]
    assert missing == []
