"""The options of `naq up`, and what is said about a file without running it."""

from __future__ import annotations

import json

from supervisor_harness import TOML, naq, rows


def test_detached(tmp_path):
    (tmp_path / "supervisor.toml").write_text(TOML)
    done = naq(tmp_path, "up", "--wait", "--timeout", "10s")
    try:
        assert done.returncode == 0, done.stderr
        assert "up in the background" in done.stderr
        assert naq(tmp_path, "ps").returncode == 0
        again = naq(tmp_path, "up", "-d")
        assert again.returncode == 73
        assert "already running here" in again.stderr
        assert "all services are up" in (tmp_path / ".naq" / "run" / "up.log").read_text()
    finally:
        assert naq(tmp_path, "down").returncode == 0


def test_detached_and_a_service_that_fails(tmp_path):
    toml = "[services.bad]\ncommand = 'false'\nrestart = 'never'\nready = { log = 'x' }\n"
    (tmp_path / "supervisor.toml").write_text(toml + "[services.s]\ncommand = 'sleep 1000'\n")
    done = naq(tmp_path, "up", "--wait")
    try:
        assert done.returncode == 1
        assert "bad: FAILED" in done.stderr
    finally:
        naq(tmp_path, "down")


def test_a_bad_file_is_refused_before_anything_is_detached(tmp_path):
    (tmp_path / "supervisor.toml").write_text("[services.s]\n")
    done = naq(tmp_path, "up", "-d")
    assert done.returncode == 78
    assert not (tmp_path / ".naq").exists()


def test_the_options_of_up(up, tmp_path):
    (tmp_path / "more.env").write_text("X=from the file\n")
    toml = TOML.replace('env.X = "1"', "")
    running = up(
        toml,
        "supervisor.toml",
        "web",
        "--no-deps",
        "--scale",
        "web=1",
        "--set",
        "services.web.command=['sh', '-c', 'echo $X; exec sleep 1000']",
        "--env-file",
        "more.env",
        "--log-format",
        "json",
    )
    running.wait('"service": "web", "replica": 1, "message": "from the file"')
    running.wait("all services are up")
    assert set(rows(tmp_path)) == {"web"}


def test_a_profile_from_the_command_line(up, tmp_path):
    running = up(TOML, "--profile", "more")
    running.wait("all services are up")
    assert set(rows(tmp_path)) == {"db", "web.1", "web.2", "once", "extra"}


def test_exit_on_ends_with_the_code_of_that_service(up):
    toml = TOML + "[services.tests]\ncommand = ['sh', '-c', 'exit 5']\ndepends_on = ['web']\n"
    assert up(toml, "--exit-on", "tests").exit() == 5
    assert up(TOML, "--exit-on", "nope").exit() == 66


def test_a_dry_run_starts_nothing(tmp_path):
    (tmp_path / "supervisor.toml").write_text(TOML)
    done = naq(tmp_path, "up", "--dry-run")
    assert done.stdout.splitlines() == ["1. db", "2. once", "3. web x2 after db"]
    assert not (tmp_path / ".naq").exists()


def test_validate(tmp_path):
    (tmp_path / "supervisor.toml").write_text(TOML)
    assert naq(tmp_path, "validate").stdout == "supervisor.toml: 5 services, 6 replicas\n"
    printed = json.loads(naq(tmp_path, "validate", "--print").stdout)
    assert printed["services"]["web"]["stop_timeout"] == 10.0
    (tmp_path / "other.toml").write_text("[services.s]\ncommand = 'no-such-program-here'\n")
    told = naq(tmp_path, "validate", "other.toml", "--json")
    assert told.returncode == 0
    assert "no program" in json.loads(told.stdout)["advice"][0]
    assert naq(tmp_path, "validate", "other.toml", "--strict").returncode == 78
    (tmp_path / "other.toml").write_text("[services.s]\n")
    bad = naq(tmp_path, "validate", "other.toml")
    assert (bad.returncode, bad.stdout) == (78, "")
    assert json.loads(naq(tmp_path, "schema").stdout)["title"] == "supervisor.toml"


def test_the_socket_may_be_elsewhere(up, tmp_path):
    elsewhere = tmp_path / "s" / "ctl"
    running = up(f"[control]\nsocket = '{elsewhere}'\n" + TOML)
    running.wait("all services are up")
    assert elsewhere.exists()
    assert naq(tmp_path, "ps").returncode == 0
    assert naq(tmp_path, "down").returncode == 0
    assert not elsewhere.exists()
