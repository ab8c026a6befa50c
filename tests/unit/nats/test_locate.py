"""Where a server is and with which credentials, as they are written in a url."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.nats.link.dial import NatsClient
from naq.nats.locate import locate, redact
from naq.settings import Settings

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(words, words)
def test_credentials_are_percent_decoded(user, password):
    url = f"nats://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:4222"
    target = locate(url, Settings())
    (server,) = target.servers
    found = NatsClient._parse_server_uri(server)

    assert (found.username, found.password) == (user, password)
    assert (found.hostname, found.port) == ("127.0.0.1", 4222)
    assert redact(url) == "nats://127.0.0.1:4222"


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("nats://127.0.0.1", None, None),
        ("nats://a%20token@127.0.0.1", "a token", None),
        ("nats://me:@127.0.0.1:4222", "me", ""),
        ("nats://me:50%@127.0.0.1:4222", "me", "50%"),
        ("127.0.0.1:4222", None, None),
    ],
)
def test_what_stands_in_a_url(url, user, password):
    found = NatsClient._parse_server_uri(url)

    assert (found.username, found.password, found.port) == (user, password, 4222)
