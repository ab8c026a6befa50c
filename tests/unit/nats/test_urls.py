"""A login in a url is taken out of it: what is handed on and shown are addresses."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from naq.exceptions import ConfigurationError
from naq.nats.locate import locate
from naq.nats.urls import Login, parse, redact
from naq.settings import Settings

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
secrets = st.text("abcXYZ019.:/,?#@%&= -_", min_size=4).filter(lambda s: s.strip())
HOSTS = "nats://a:4222,tls://b:4223,c"


@given(words, words)
def test_credentials_are_percent_decoded_and_taken_out(user, password):
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    found = parse(f"nats://{login}@a:4222,nats://b:4222")

    assert found == ("nats://a:4222,nats://b:4222", Login(user=user, password=password))


@pytest.mark.parametrize(
    ("url", "addresses", "login"),
    [
        (HOSTS, HOSTS, None),
        ("nats://a%20token@127.0.0.1", "nats://127.0.0.1", Login(token="a token")),
        ("nats://me:@a:4222", "nats://a:4222", Login(user="me", password="")),
        ("me:50%@a:4222", "nats://a:4222", Login(user="me", password="50%")),
        ("t@a, t@b ,c", "nats://a,nats://b,c", Login(token="t")),
        ("wss://t@a/path", "wss://a/path", Login(token="t")),
        ("nats://t@[::1]:4222", "nats://[::1]:4222", Login(token="t")),
    ],
)
def test_what_stands_in_a_url(url, addresses, login):
    assert parse(url) == (addresses, login)


@given(secrets, st.sampled_from(["nats://", "http://", ""]), st.booleans(), st.booleans())
@example("p,ss", "nats://", False, True)
@example("p@ss/w", "nats://", True, True)
def test_a_secret_is_never_shown(secret, scheme, several, with_user):
    """Neither in what is handed on, nor in what is said of a url that cannot be used."""
    assume(not re.search(r":\d*\s*,|^\s*,", f":{secret}"))  # that is a port, and the next url
    login = f"who:{secret}" if with_user else secret
    url = f"{scheme}{login}@host:4222" + (",nats://other:4222" if several else "")
    marker = secret.strip()
    try:
        shown = parse(url)[0] + str(locate(url, Settings()))
    except ConfigurationError as exc:
        shown = str(exc)
    if not any(marker in word for word in ("host:4222", "other:4222", "who")):
        assert f"who:{marker}" not in shown + redact(url)
        assert f"{marker}@" not in shown + redact(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "empty"),
        (",", "empty"),
        ("http://a", "not a NATS URL"),
        ("nats://", "not a NATS URL"),
        ("nats://a:port", "not a NATS URL"),
        ("nats://x@a,nats://y@b", "different logins"),
    ],
)
def test_what_is_no_list_of_servers(url, said):
    with pytest.raises(ConfigurationError, match=said):
        parse(url)


@pytest.mark.parametrize("name", ["SECRET_KEY", "NATS_TOKEN", "NATS_PASSWORD", "NATS_URL"])
def test_no_setting_shows_a_secret(name):
    """Neither the settings themselves nor what is wrong with one."""
    value = "nats://me:s3cret@a" if name == "NATS_URL" else "s3cret"
    assert "s3cret" not in repr(Settings.from_env({f"NAQ_{name}": value}))
    try:
        shown = repr(Settings.from_env({f"NAQ_{name}": f"{value}\udc80"}))
    except ConfigurationError as exc:
        shown = str(exc)
    assert "s3cret" not in shown
