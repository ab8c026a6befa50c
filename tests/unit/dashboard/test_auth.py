"""Who may look at the dashboard, and who may act."""

from __future__ import annotations

import time

import pytest

from naq.dashboard.auth import COOKIE, FREE_TRIES, REMEMBERED, Auth, is_loopback, may_act

TOKEN = "secret-token"


@pytest.fixture
def auth():
    return Auth(TOKEN)


def test_a_program_sends_the_token(auth):
    visitor = auth.visitor({"Authorization": f"Bearer {TOKEN}"}, {})
    assert visitor is not None
    assert may_act(visitor, "", {}, "host")  # no browser sends this by itself


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer ünïcode"},
        {"X-Forwarded-User": "ada"},
    ],
)
def test_nobody_we_know(auth, headers):
    assert auth.visitor(headers, {}) is None


def test_a_browser_gets_a_cookie_for_the_token(auth):
    cookie = auth.login(TOKEN, "1.2.3.4")
    visitor = auth.visitor({}, {COOKIE: cookie})
    assert visitor is not None
    assert TOKEN not in cookie
    assert may_act(visitor, visitor.csrf, {"Origin": "http://here"}, "here")
    assert not may_act(visitor, "", {}, "here")
    assert not may_act(visitor, "x", {}, "here")
    assert not may_act(visitor, visitor.csrf, {"Origin": "http://there"}, "here")
    other = auth.visitor({}, {COOKIE: auth.login(TOKEN, "1.2.3.4")})
    assert not may_act(visitor, other.csrf, {}, "here")


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1], lambda c: "9" + c, lambda _: "", lambda _: "."]
)
def test_a_cookie_that_was_changed_is_none(auth, change):
    cookie = auth.login(TOKEN, "a")
    assert auth.visitor({}, {COOKIE: change(cookie)}) is None
    assert Auth("another").visitor({}, {COOKIE: cookie}) is None


def test_a_cookie_ends(auth, monkeypatch):
    cookie = auth.login(TOKEN, "a")
    later = time.time() + 8 * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert auth.visitor({}, {COOKIE: cookie}) is None


def test_who_guesses_waits_longer_and_longer(auth):
    for _ in range(FREE_TRIES):
        assert auth.wait("bad") == 0
        assert auth.login("guess", "bad") is None
    assert 0 < auth.wait("bad") <= 1
    assert auth.login(TOKEN, "bad") is None  # even with the right one, until the time is over
    assert auth.wait("bad") > 1
    assert auth.login(TOKEN, "good") is not None


def test_only_so_many_addresses_are_remembered(auth):
    for number in range(REMEMBERED + 50):
        auth.login("guess", str(number))
    assert len(auth._failures) == REMEMBERED


def test_a_proxy_is_believed_where_that_was_asked_for():
    auth = Auth(TOKEN, "X-Forwarded-User")
    visitor = auth.visitor({"X-Forwarded-User": "ada"}, {})
    assert (visitor.name, visitor.shown) == ("ada", "ada")
    assert not may_act(visitor, "", {}, "here")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected
