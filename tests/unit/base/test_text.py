"""What people write: durations, addresses, functions, templates; and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.base.text import CENTURY, address, duration, fill, resolve, uses_port

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

# ------------------------------------------------------------------ durations


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1m1ms", 60.001),
        ("90", 90),
        ("0", 0),
        ("0s", 0),
        ("1.5", 1.5),
        ("2.", 2),
        (".5", 0.5),
        ("1e3", 1000),
        ("5200w", 5200 * 604_800),
    ],
)
def test_durations(written, seconds):
    assert duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "s", "h1", "-5", "-5s", "+5", "5 s", " 5s", "5s ", "5S", "5y", "1h30", "5,5s",
        ".5s", "nan", "NaN", "inf", "infinity", "1_000", "0x10", "five", "1h-5m", "٣s", "5s\n",
        "e5",
    ],
)  # fmt: skip
def test_what_is_not_a_duration(written):
    with pytest.raises(ValueError, match="is not a duration"):
        duration(written)


@pytest.mark.parametrize(
    "written", ["1e18", "1e400", "9999999999d", "36501d", f"{'9' * 5000}s", "9" * 5000]
)
def test_a_duration_of_more_than_a_century(written):
    with pytest.raises(ValueError, match="longer than a century"):
        duration(written)


numbers = st.one_of(
    st.integers(0, 10_000).map(str),
    st.decimals(0, 10_000, places=3, allow_nan=False, allow_infinity=False).map(str),
)
parts = st.tuples(numbers, st.sampled_from(sorted(UNITS)))


@given(st.lists(parts, min_size=1, max_size=6))
def test_a_duration_is_the_sum_of_its_parts(written):
    expected = sum(float(number) * UNITS[unit] for number, unit in written)
    text = "".join(number + unit for number, unit in written)
    if expected > CENTURY:
        with pytest.raises(ValueError, match="century"):
            duration(text)
    else:
        assert duration(text) == pytest.approx(expected)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="0123456789.eE+-msdhw nif_"),
        st.from_regex(r"([0-9]{1,400}(\.[0-9]{1,30})?(ms|[smhdw])?){1,5}", fullmatch=True),
    )
)
def test_any_text_is_a_duration_of_at_most_a_century_or_refused(text):
    try:
        seconds = duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= CENTURY  # which neither NaN nor infinity is


# ------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("9466", ("127.0.0.1", 9466)),
        (":9466", ("127.0.0.1", 9466)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("example.org:0", ("example.org", 0)),
        ("[::1]:65535", ("::1", 65_535)),
    ],
)
def test_addresses(written, found):
    assert address(written) == found


@pytest.mark.parametrize(
    "written",
    ["", ":", "host", "host:", "host:http", "host:65536", "host:-1", "::1:80", "a b:80", "h:٣",
     "[::1]", "host:" + "9" * 5000],
)  # fmt: skip
def test_what_is_not_an_address(written):
    with pytest.raises(ValueError, match="is not an address"):
        address(written)


@given(st.one_of(st.text(), st.text(alphabet="0123456789:[]. a")))
def test_any_text_is_an_address_or_refused(text):
    try:
        host, port = address(text)
    except ValueError:
        return
    assert host
    assert 0 <= port < 65_536


# ------------------------------------------------------- functions, templates


def test_a_function_is_found_by_its_name():
    assert resolve("naq.base.text:resolve") is resolve
    assert resolve("collections:OrderedDict.fromkeys")({"a": 1}) == {"a": None}


@pytest.mark.parametrize(
    "written", ["", ":", "json", "json:", ":loads", ".json:loads", "..x:y", "string:digits"]
)
def test_what_does_not_name_a_function(written):
    with pytest.raises(ValueError, match="function"):
        resolve(written)


def test_what_is_not_there():
    with pytest.raises(ImportError):
        resolve("there.is.none:f")
    with pytest.raises(AttributeError):
        resolve("json:there_is_none")


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{service}-{replica}", "web-2"),
        ("{{port}} {port}", "{port} 80"),
        ("${port} {other} {}", "${port} {other} {}"),
    ],
)
def test_templates(template, filled):
    assert fill(template, {"service": "web", "replica": 2, "port": 80}) == filled


def test_a_template_without_its_value():
    with pytest.raises(KeyError):
        fill("{port}", {})


def test_which_templates_use_the_port():
    assert uses_port(["a", "--port={port}"])
    assert not uses_port(["{service}", "{{port}}", "${port}"])
