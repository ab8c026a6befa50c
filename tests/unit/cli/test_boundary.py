"""No command ends with a traceback that nobody asked for, and each with a code of the table."""

from __future__ import annotations

import errno
import os

import cyclopts
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naq.base.exits import Exit
from naq.cli import COMMANDS, main
from naq.cli.boundary import exit_code, problems
from naq.exceptions import (
    ConfigurationError,
    EnvironmentProblemError,
    JobExecutionError,
    JobNotFoundError,
    NaqConnectionError,
    QueueNotFoundError,
    SerializationError,
    ServerRefusedError,
    SupervisorError,
)

NAMES = [name for commands in COMMANDS.values() for name, _, _ in commands]
NOBODY = "nats://127.0.0.1:1"
SERVING = {"up", "worker", "scheduler", "dashboard"}
"""These are given an option that does not exist, or they would begin to serve."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run in an empty directory, without a server."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("NAQ_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAQ_NATS_URL", NOBODY)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    return tmp_path


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigurationError("x\ny"), Exit.USAGE, "x y"),
        (EnvironmentProblemError("x"), Exit.CONFIG, "x"),
        (JobNotFoundError("no job"), Exit.NOT_FOUND, "no job"),
        (QueueNotFoundError("no queue"), Exit.NOT_FOUND, "no queue"),
        (NaqConnectionError("away"), Exit.UNAVAILABLE, "away"),
        (ServerRefusedError("refused"), Exit.FAILED, "refused"),
        (SupervisorError("none runs", exit_code=3), Exit.NOT_RUNNING, "none runs"),
        (SerializationError("no"), Exit.FAILED, "no"),
        (JobExecutionError(""), Exit.FAILED, "JobExecutionError"),
        (OSError(errno.ENOSPC, "No space left on device"), Exit.OUTPUT, "cannot write the output"),
        (PermissionError(errno.EACCES, "Permission denied", "x.toml"), Exit.FAILED, "x.toml: Perm"),
        (FileNotFoundError(errno.ENOENT, "No such file"), Exit.FAILED, "working directory"),
        (cyclopts.CycloptsError(msg="what"), Exit.USAGE, "what"),
        (ZeroDivisionError("by zero"), Exit.INTERNAL, "a fault in naq: ZeroDivisionError: by zero"),
        (RecursionError(), Exit.INTERNAL, "a fault in naq: RecursionError"),
    ],
)
def test_every_error_is_a_line_and_a_code(error, code, text):
    (problem,) = problems(error)

    assert exit_code(error) == code
    assert text in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("words", "environment", "shown"),
    [
        (["--log-level", "debug"], "", True),
        (["--log-level=debug"], "", True),
        (["--log-level=DEBUG"], "", True),
        (["-l", "Debug"], "", True),
        (["-l=debug"], "", True),
        ([], "debug", True),
        ([], "DEBUG", True),
        (["-l", "info"], "debug", False),
        (["-l", "info"], "", False),
        ([], "", False),
    ],
)
def test_a_traceback_is_for_those_who_ask(words, environment, shown, capsys, monkeypatch):
    if environment:
        monkeypatch.setenv("NAQ_LOG_LEVEL", environment)

    assert run("pause-queue", "debug", *words) == Exit.UNAVAILABLE  # a queue of that name
    err = capsys.readouterr().err
    assert ("Traceback" in err) is shown
    assert err.splitlines()[-1].startswith("naq: no NATS server answers")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import os\nos.environ['NOT_SET']\n", "KeyError: 'NOT_SET'"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("from os import nothing\n", "cannot import name 'nothing'"),
        ("int('x')\n", "ValueError: invalid literal"),
        ("object().x\n", "AttributeError"),
        ("raise SystemExit(0)\n", "SystemExit: 0"),
        ("raise RuntimeError('a\\nb')\n", "RuntimeError: a b"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_own_error(
    source, words, elsewhere, capsys, request
):
    name = f"broken_{abs(hash(source))}"
    (elsewhere / f"{name}.py").write_text(source)

    for command in (["enqueue"], ["schedule", "--interval", "1h"]):
        assert run(command[0], f"{name}:f", *command[1:]) == Exit.CONFIG
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"naq: cannot import {name}: ")
        assert words in line
        assert f"{name}.py:" in line


ODD = st.one_of(
    st.sampled_from(
        [
            *("", "-", "--", "--json", "--yes", "--all", "--limit", "--limit=0", "-n=-5", "-n=1e3"),
            *("--limit=nan", "\udcff", "--queue=\udcff", "--queue=a.b", "--log-level=loud", "-l"),
            *(
                "--in=nan",
                "--in=1e12",
                "--at=99999-01-01",
                "--at=noon",
                "--timeout=inf",
                "--cron=x",
            ),
            *("debug", "a:b", "time:sleep", "os:nothing", "\x00", "\x1b[2J", "x" * 300, "*", ">"),
            *(
                "-k=x",
                "-k=a=\udcff",
                "--nats-url=http://x",
                "--nats-url=\udcff",
                "--max-retries=-1",
            ),
            *("--id= ", "--next-run=1", "web=1", "web=x", "[1", '{"a": \udcff}', "9" * 400),
            *("--tail=-1", "--wait", "--profile=x", "--format=json", "-u", "--repeat=x", "cancel"),
        ]
    ),
    st.text(max_size=8),
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(NAMES), st.lists(ODD, max_size=5))
def test_no_argument_is_answered_with_a_traceback(capsys, command, words):
    unknown = ["--no-such-option"] if command in SERVING else []

    code = run(command, *unknown, *words)

    _, err = capsys.readouterr()
    assert code in [*Exit], (command, words, code, err)
    assert code != Exit.INTERNAL, (command, words, err)
    assert "Traceback" not in err, (command, words, err)
    if code not in (Exit.DONE, Exit.FAILED):
        assert all(line.startswith("naq: ") for line in err.splitlines()), (command, words, err)
