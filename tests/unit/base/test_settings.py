"""The environment: defaults, what is refused, and that all of it is said at once."""

from __future__ import annotations

import pytest

from naq.exceptions import ConfigurationError
from naq.settings import Settings


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_env({})

    assert settings == Settings()
    assert settings.default_result_ttl == 604_800
    assert settings.names.jobs_stream == "NAQ"


def test_everything_is_read():
    settings = Settings.from_env(
        {
            "NAQ_NATS_URL": "nats://h:1",
            "NAQ_DEFAULT_QUEUE": "mail",
            "NAQ_JOB_SERIALIZER": "JSON",
            "NAQ_SECRET_KEY": "s3cret",
            "NAQ_ALLOW": "a.b, c",
            "NAQ_ACK_WAIT_PER_QUEUE": '{"mail": 90}',
            "NAQ_REPLICAS": "3",
            "NAQ_LOG_LEVEL": "debug",
        }
    )

    assert settings.job_serializer == "json"
    assert settings.secret_key == b"s3cret"
    assert settings.allow == ("a.b", "c")
    assert (settings.ack_wait("mail"), settings.ack_wait("other")) == (90, 30)
    assert settings.replicas == 3


def test_secrets_are_not_shown():
    settings = Settings.from_env({"NAQ_SECRET_KEY": "s3cret", "NAQ_NATS_TOKEN": "t0ken"})

    assert "s3cret" not in repr(settings)
    assert "t0ken" not in repr(settings)


def test_all_that_is_wrong_is_said_at_once_with_the_name_of_each():
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(
            {
                "NAQ_DEFAULT_QUEUE": "a.b",
                "NAQ_JOB_SERIALIZER": "yaml",
                "NAQ_WORKER_TTL": "0",
                "NAQ_DEFAULT_RESULT_TTL": "never",
                "NAQ_ACK_WAIT_PER_QUEUE": "{",
                "NAQ_REPLICAS": "2",
                "NAQ_LOG_LEVEL": "loud",
                "NAQ_PREFIX": "My-App",
            }
        )

    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) >= 8
    for name in ("DEFAULT_QUEUE", "SERIALIZER", "WORKER_TTL", "RESULT_TTL", "ACK_WAIT", "REPLICAS"):
        assert name in problems


def test_a_heartbeat_must_be_shorter_than_the_time_to_live():
    with pytest.raises(ConfigurationError, match="HEARTBEAT"):
        Settings.from_env({"NAQ_WORKER_TTL": "10", "NAQ_WORKER_HEARTBEAT_INTERVAL": "10"})
