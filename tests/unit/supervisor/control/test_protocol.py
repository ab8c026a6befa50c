"""The control socket without a socket: requests, their arguments, conversations."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.control import arguments
from naq.supervisor.control.arguments import Arguments, checked
from naq.supervisor.control.commands import commands
from naq.supervisor.control.protocol import (
    MAX_REQUEST,
    Conversation,
    GarbledError,
    answer,
    event,
    read_request,
    refusal,
)
from naq.supervisor.control.streams import streams
from naq.supervisor.model.errors import Refused

DESIGN = Path(__file__).parents[4] / "docs" / "design" / "supervision.md"


KINDS = {kind.__name__.lower(): kind for kind in Arguments.__subclasses__()}


@given(st.binary(max_size=200))
def test_any_line_is_a_request_or_is_refused(line):
    refused = None
    try:
        read_request(line)
    except Refused as exc:
        refused = exc
    assert refused is None or json.loads(refusal(refused))["ok"] is False


def test_a_request_and_its_answer():
    request = read_request(b'{"v": 1, "id": "a", "cmd": "ps", "args": {"x": [1]}}')
    assert (request.id, request.command, request.args) == ("a", "ps", {"x": [1]})
    assert json.loads(answer(request.id, [1, "ü"])) == {"id": "a", "ok": True, "result": [1, "ü"]}
    assert MAX_REQUEST == 65536


def test_another_version_is_told_which_one_is_spoken():
    with pytest.raises(Refused, match="speaks version 1 of the protocol, not 7"):
        read_request(b'{"v": 7, "cmd": "ps"}')


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


fields = st.sampled_from(
    [(kind, field) for kind in KINDS.values() for field in kind.__struct_fields__]
)


def read(kind, args):
    return checked(kind, lambda asked: asked)(args)


@given(fields, anything)
def test_any_value_is_used_or_refused(field, value):
    kind, name = field
    try:
        found = getattr(read(kind, {name: value}), name)
    except Refused:
        return
    assert (list(found) if isinstance(found, tuple) else found) == value


@pytest.mark.parametrize(
    ("kind", "args", "message"),
    [
        (
            arguments.Ps,
            {"nwo": True},
            "ps: Object contains unknown field `nwo`; it takes services, all",
        ),
        (
            arguments.Ping,
            {"x": 1},
            "ping: Object contains unknown field `x`; it takes no arguments",
        ),
        (arguments.Ps, {"services": "web"}, "Expected `array`, got `str` - at `$.services`"),
        (arguments.Down, {"timeout": -1}, "Expected `float` >= 0.0 - at `$.timeout`"),
        (arguments.Down, {"timeout": float("nan")}, "Expected `float` >= 0.0"),
        (arguments.Down, {"timeout": float("inf")}, "Expected `float` <= "),
        (arguments.Down, {"now": 1}, "Expected `bool`, got `int` - at `$.now`"),
        (arguments.Wait, {"goal": "up"}, "Invalid enum value 'up' - at `$.goal`"),
        (arguments.Scale, {}, "Object missing required field `replicas`"),
        (arguments.Scale, {"replicas": {}}, "Expected `object` of length >= 1"),
        (arguments.Scale, {"replicas": {"web": -1}}, "Expected `int` >= 0"),
        (arguments.Restart, {"parallel": 0}, "Expected `int` >= 1 - at `$.parallel`"),
        (arguments.Signal, {"services": ["web"]}, "Object missing required field `signal`"),
    ],
)
def test_what_is_refused_says_why(kind, args, message):
    with pytest.raises(Refused, match=re.escape(message)) as info:
        read(kind, args)
    assert info.value.code == "bad-request"


def test_nothing_given_is_the_default():
    assert read(arguments.Restart, {"parallel": None, "timeout": None}) == arguments.Restart()
    assert read(arguments.Stop, {"timeout": 3}).timeout == 3.0


def test_every_command_has_its_arguments_and_stands_in_the_design_page():
    served = {*commands(None), *streams(None)}
    assert served == set(KINDS)
    rows = re.findall(r"^\| `([a-z]+)` \| (.*?) \|", DESIGN.read_text("utf-8"), re.MULTILINE)
    documented = {name: set(re.findall("`([a-z]+)`", takes)) for name, takes in rows}
    assert documented == {name: {*kind.__struct_fields__} for name, kind in KINDS.items()}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@given(st.lists(json_values, max_size=4), json_values, st.lists(st.integers(0), max_size=6))
def test_it_does_not_matter_where_the_bytes_are_cut(events, result, cuts):
    conversation = Conversation()
    asked = read_request(conversation.ask("ps", {"services": ["web"]}).rstrip(b"\n"))
    assert (asked.command, asked.args) == ("ps", {"services": ["web"]})
    data = b"".join([*(event(asked.id, content) for content in events), answer(asked.id, result)])
    found = []
    for piece in pieces(data, cuts):
        assert not conversation.answered or not piece
        found += conversation.receive(piece)
    assert found == events
    assert conversation.answered
    assert conversation.result() == result


def test_one_request_after_the_other():
    conversation = Conversation()
    for number in range(1, 4):
        asked = read_request(conversation.ask("ping", {}))
        assert asked.id == number
        assert not conversation.answered
        assert conversation.receive(answer(asked.id, number)) == []
        assert conversation.result() == number


def test_a_refusal_comes_after_the_events():
    conversation = Conversation()
    conversation.ask("logs", {})
    refused = refusal(Refused("unknown-service", "no service 'x'", id_=1))
    assert conversation.receive(event(1, "a") + event(1, "b") + refused) == ["a", "b"]
    with pytest.raises(Refused, match="no service 'x'") as info:
        conversation.result()
    assert (info.value.code, info.value.id) == ("unknown-service", 1)


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_garbage_ends_the_conversation_or_waits_for_its_newline(chunks):
    conversation = Conversation(limit=60)
    conversation.ask("ps", {})
    try:
        for chunk in chunks:
            conversation.receive(chunk)
    except GarbledError:
        return
    assert not conversation.answered
    assert b"\n" not in b"".join(chunks)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"event": 1}',
        b'{"id": 1}',
        b'{"id": 1, "ok": true}',
        b'{"id": 1, "ok": 1, "result": 2}',
        b'{"id": 1, "ok": false}',
        b'{"id": 1, "ok": false, "error": {"code": "x"}}',
        b'{"id": 1, "ok": false, "error": "x"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_reply_is_told(line):
    conversation = Conversation()
    conversation.ask("ps", {})
    with pytest.raises(GarbledError):
        conversation.receive(line + b"\n")


def test_nobody_speaks_unasked():
    conversation = Conversation()
    with pytest.raises(GarbledError, match="to no request"):
        conversation.receive(answer(1, None))
    conversation = Conversation()
    conversation.ask("ps", {})
    with pytest.raises(GarbledError, match="to no request"):
        conversation.receive(answer(1, None) + event(1, None))


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_line_that_is_too_long_is_not_kept(newline):
    conversation = Conversation(limit=100)
    conversation.ask("ps", {})
    assert conversation.receive(b'"' + b"x" * 99) == []
    with pytest.raises(GarbledError, match="longer than 100 bytes"):
        conversation.receive(b"x" + newline)
