"""A command in a project's directory has the NAQ_ variables that the project's services have."""

from __future__ import annotations

import pytest

from naq.cli.common import project_env, settings
from naq.exceptions import ConfigurationError

FILE = """
[project]
name = "shop"
env_file = ["?.env"]
env = { NAQ_NATS_URL = "nats://${WHERE:-a}:4222", NAQ_PREFIX = "{project}", NAQ_ALLOW = false }
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "supervisor.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for name in ("NAQ_NATS_URL", "NAQ_PREFIX", "NAQ_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_what_the_file_sets(project):
    (project / ".env").write_text("NAQ_REPLICAS=3\nPATH=/nowhere\n")

    found = settings()

    assert (found.nats_url, found.prefix, found.replicas) == ("nats://a:4222", "shop", 3)
    assert project_env().keys() == {"NAQ_NATS_URL", "NAQ_PREFIX", "NAQ_REPLICAS"}  # no PATH


def test_the_environment_wins(project, monkeypatch):
    monkeypatch.setenv("NAQ_NATS_URL", "nats://b")

    assert settings().nats_url == "nats://b"


def test_elsewhere_and_in_services_it_is_not_read(project, monkeypatch, tmp_path):
    monkeypatch.setenv("NAQ_SERVICE", "worker")
    assert project_env() == {}
    monkeypatch.delenv("NAQ_SERVICE")
    monkeypatch.chdir(tmp_path.parent)
    assert project_env() == {}


@pytest.mark.parametrize(
    "text", ["[project", "project = 1", "[project]\nenv = 1", "[project]\nenv_file = ['no']"]
)
def test_a_file_that_cannot_be_read_is_named(project, text):
    (project / "supervisor.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=r"supervisor\.toml: .*naq validate"):
        project_env()
