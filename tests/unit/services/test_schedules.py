"""``[schedules]`` and ``type = "scheduler"`` in a supervisor file."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest

from naq.exceptions import ConfigurationError
from naq.services import KINDS
from naq.services.schedules import MARK
from naq.supervisor.config import read as config
from naq.supervisor.model.spec import Run

WORKER = '[services.worker]\ntype = "worker"\n'


@pytest.fixture
def parse(tmp_path):
    def read(toml):
        return config.parse(tomllib.loads(toml), kinds=KINDS, directory=tmp_path, file="s.toml")

    return read


@pytest.fixture
def problems(parse):
    def read(toml):
        with pytest.raises(ConfigurationError) as caught:
            parse(WORKER + toml)
        return [text.removeprefix("s.toml: ") for text in caught.value.problems]

    return read


def test_one_service_comes_of_the_table(parse):
    topology = parse(
        WORKER
        + """
[services.nats]
type = "nats"
[schedules.heartbeat]
function = "shop.tasks:heartbeat"
queue    = "mail"
cron     = "*/5 * * * *"
timezone = "Europe/Berlin"
args     = [1, "two"]
kwargs   = { three = 3 }
max_retries = 2
[schedules.poll]
function = "shop.tasks:poll"
interval = "1m30s"
start    = 2030-01-01T00:00:00Z
"""
    )
    service = topology.services["schedules"]
    assert (service.type, service.run) == ("schedules", Run.TASK)
    assert [edge.service for edge in service.depends_on] == ["nats"]
    entries = service.options["entries"]
    assert entries["heartbeat"]["args"] == (1, "two")
    assert entries["heartbeat"]["kwargs"] == {"three": 3}
    assert entries["poll"]["interval"] == 90.0
    assert entries["poll"]["start"] == datetime(2030, 1, 1, tzinfo=UTC)


def test_without_the_table_there_is_none_unless_something_is_to_be_removed(parse, tmp_path):
    assert "schedules" not in parse(WORKER).services
    run_dir = tmp_path / ".naq" / "run"
    run_dir.mkdir(parents=True)
    (run_dir / MARK).touch()
    assert parse(WORKER).services["schedules"].options["entries"] == {}


def test_a_broker_that_is_not_always_there_is_not_started_for_it(parse):
    topology = parse(
        WORKER
        + '[services.nats]\ntype = "nats"\nprofiles = ["dev"]\n'
        + '[schedules.a]\nfunction = "m:f"\ninterval = 5\n'
    )
    assert topology.services["schedules"].depends_on == ()


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[schedules.a]\ninterval = 5", "schedules.a: function: missing"),
        ('[schedules.a]\nfunction = "m:f"', "schedules.a: give cron or interval"),
        (
            '[schedules.a]\nfunction = "m:f"\ncron = "61 * * * *"',
            "schedules.a: cron='61 * * * *': minute: '61' is not understood",
        ),
        (
            '[schedules.a]\nfunction = "m:f"\ncrom = "* * * * *"',
            "schedules.a.crom: unknown key; did you mean 'cron'?",
        ),
        ('[schedules.a]\nfunction = "nope"\ninterval = 5', "schedules.a.function: expected"),
        ('[schedules.a]\nfunction = "m:f"\ninterval = "soon"', "schedules.a.interval: expected"),
        ('[schedules.a]\nfunction = "m:f"\ninterval = 0.1', "interval=0.1: must be 1 or more"),
        (
            '[schedules.a]\nfunction = "m:f"\ninterval = 5\nmisfire = "maybe"',
            "schedules.a.misfire:",
        ),
        (
            '[schedules.a]\nfunction = "m:f"\ninterval = 5\nstart = 2030-01-01T00:00:00',
            "has no time zone",
        ),
        (
            '[schedules.a]\nfunction = "m:f"\ncron = "* * * * *"\ntimezone = "Mars"',
            "not an IANA time zone",
        ),
        ('[schedules."a b"]\nfunction = "m:f"\ninterval = 5', "schedule id 'a b'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(problems, toml, problem):
    found = problems(toml)
    assert len(found) == 1, found
    assert problem in found[0]


def test_it_is_a_table(parse):
    with pytest.raises(ConfigurationError, match=r"s\.toml: schedules: expected a table"):
        parse(f"schedules = 5\n{WORKER}")


def test_the_name_is_taken(problems):
    found = problems(
        '[services.schedules]\ncommand = "x"\n[schedules.a]\nfunction = "m:f"\ninterval = 5\n'
    )
    assert found == ["services.schedules: choose another name: [schedules] runs under this one"]


def test_nobody_is_offered_the_type(problems):
    (found,) = problems('[services.a]\ntype = "schedule"\n')
    assert "scheduler" in found


def test_a_scheduler_in_a_process_or_on_the_loop(parse, problems):
    topology = parse(
        '[services.a]\ntype = "scheduler"\nrun = "task"\nreplicas = 2\npoll_interval = "30s"\n'
    )
    service = topology.services["a"]
    assert (service.run, service.replicas, service.options["poll_interval"]) == (Run.TASK, 2, 30.0)
    (found,) = problems('[services.a]\ntype = "scheduler"\npoll_interval = "10ms"\n')
    assert found == "services.a.poll_interval: must be one second or more"
