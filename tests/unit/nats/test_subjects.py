"""Which subjects a filter takes."""

from __future__ import annotations

import pytest

from naq.nats.jetstream import matches


@pytest.mark.parametrize(
    ("filter_subject", "subject", "taken"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("naq.j.*.normal.*", "naq.j.mail.normal.1", True),
        ("naq.j.*.normal.*", "naq.s.mail.1", False),
    ],
)
def test_a_filter_takes_what_the_server_would_give_it(filter_subject, subject, taken):
    assert matches(filter_subject, subject) is taken
