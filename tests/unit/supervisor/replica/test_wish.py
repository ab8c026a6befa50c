"""A renewal has one outcome."""

from __future__ import annotations

import trio
import trio.testing

from naq.supervisor.replica.wish import Renewal


def test_the_first_word_about_a_renewal_counts():
    renewal = Renewal()
    renewal.settle("broken")
    renewal.settle()
    assert trio.run(renewal.wait) == "broken"
