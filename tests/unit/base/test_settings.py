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


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), (" 90 ", 90), ("1.5", 1.5), ("1e3", 1000), ("90s", 90), ("1h30m", 5400)],
)
def test_durations(written, seconds):
    assert Settings.from_env({"NAQ_DEFAULT_RESULT_TTL": written}).default_result_ttl == seconds


@pytest.mark.parametrize("written", ["nan", "inf", "-1", "1e18", "200y", "0.5", "500ms"])
def test_what_is_not_a_duration_of_a_second_or_more(written):
    with pytest.raises(ConfigurationError, match="NAQ_DEFAULT_ACK_WAIT"):
        Settings.from_env({"NAQ_DEFAULT_ACK_WAIT": written})


def test_durations_of_single_queues():
    table = '{"mail": 90, "video": "1h30m", "audio": 1.5}'
    settings = Settings.from_env({"NAQ_ACK_WAIT_PER_QUEUE": table})
    assert [settings.ack_wait(queue) for queue in ("mail", "video", "audio", "x")] == [
        90,
        5400,
        1.5,
        30,
    ]


@pytest.mark.parametrize(
    "table", ['{"mail": 0}', '{"mail": "soon"}', '{"a.b": 9}', '{"mail": 1e18}', '{"mail": null}']
)
def test_durations_of_single_queues_are_checked(table):
    with pytest.raises(ConfigurationError, match="NAQ_ACK_WAIT_PER_QUEUE"):
        Settings.from_env({"NAQ_ACK_WAIT_PER_QUEUE": table})


def test_a_heartbeat_must_be_shorter_than_the_time_to_live():
    with pytest.raises(ConfigurationError, match="HEARTBEAT"):
        Settings.from_env({"NAQ_WORKER_TTL": "10", "NAQ_WORKER_HEARTBEAT_INTERVAL": "10"})
