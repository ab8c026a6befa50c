"""The benchmarks' table, targets and chart, from figures that are given."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.report import chart, rows, targets
from benchmarks.staging.contestants import ALL, NAQ, at_revision, beside, named

FOUND = {
    "noop": {
        "naq": {"rounds": [{"rate": 20_000}, {"rate": 18_000}, {"rate": 30_000}], "why": ""},
        "naq-trio": {"rounds": [{"rate": 13_000}], "why": ""},
        "streaq": {"rounds": [{"rate": 2_000}, {"rate": 2_500}, {"rate": 3_000}], "why": ""},
        "bare": {"rounds": [{"rate": 25_000}], "why": ""},
        "rq": {"rounds": [], "why": "failed"},
    },
    "latency": {
        "naq": {"rounds": [{"p50_ms": 0.8, "p99_ms": 1.4}], "why": ""},
        "streaq": {"rounds": [{"p50_ms": 2.0, "p99_ms": 4.0}], "why": ""},
        "huey": {"rounds": [{"p50_ms": 1.0, "p99_ms": 4.0}], "why": ""},
    },
    "memory": {
        "naq": {"rounds": [{"rss_mb": 42.0}], "why": ""},
        "arq": {"rounds": [{"rss_mb": 33.0}], "why": ""},
    },
    "startup": {"naq": {"rounds": [{"version_ms": 130.0}], "why": ""}},
}
NAMES = ["naq", "naq-trio", "streaq", "rq", "huey"]


def verdict(title):
    return next(one for one in targets.verdicts(FOUND) if one.title.startswith(title))


def test_a_cell_is_the_median_with_its_spread_or_a_dash():
    lines = rows.table(FOUND, NAMES).splitlines()
    line = next(line for line in lines if line.startswith("| no-op jobs, 1 worker process, /s"))
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    assert cells == [
        "20,000 (18,000…30,000)",
        "13,000",
        "2,500 (2,000…3,000)",
        rows.NONE,
        rows.NONE,
    ]


def test_a_revision_takes_part_beside_the_naq_of_today():
    found = beside(named(["naq", "rq"]), ["abc"])
    assert [one.name for one in found] == ["naq", "naq@abc", "rq"]
    assert at_revision(NAQ, "abc") == found[1]
    assert (found[1].base, found[1].revision) == ("naq", "abc")


def test_a_ratio_is_that_of_two_figures_of_the_same_round():
    found = {
        "noop": {
            "naq": {"rounds": [{"rate": 100}, {"rate": 300}, {"rate": 220}], "why": ""},
            "naq@abc": {"rounds": [{"rate": 100}, {"rate": 200}, {"rate": 200}], "why": ""},
        }
    }
    head, _, line = rows.ratios(found, ["naq", "naq@abc"]).splitlines()
    assert head == "| | naq / naq@abc |"
    assert line == ("| no-op jobs, 1 worker process (more is better) | 1.100 (1.000…1.500) |")
    assert rows.ratios(found, ["naq"]) == ""


def test_rows_nobody_has_are_left_out():
    assert "SHA-256" not in rows.table(FOUND, NAMES)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (20_123.4, "/s", "20,123"),
        (0.8, "ms", "0.80"),
        (12.34, "ms", "12.3"),
        (None, "s", rows.NONE),
    ],
)
def test_figures_are_as_long_as_they_mean_something(value, unit, text):
    assert rows.shown(value, unit) == text


def test_a_ratio_that_is_reached():
    one = verdict("no-op: 8 times streaq")
    assert (one.ratio, one.met) == (8.0, True)


def test_a_ratio_that_is_missed():
    one = verdict("no-op: 85 %")
    assert (one.ratio, one.met) == (0.8, False)


def test_of_several_the_best_one_counts():
    one = verdict("latency p50")
    assert (one.whom, one.ratio, one.met) == ("huey", 0.8, False)


def test_what_is_added_to_theirs():
    one = verdict("idle worker")
    assert (one.theirs, one.met) == (43.0, True)


def test_a_limit_without_anybody_to_compare_with():
    assert verdict("naq --version").met is False


def test_what_was_not_measured_is_no_failure():
    one = verdict("sync in threads: 2 times huey")
    assert one.met is None
    assert "not measured" in targets.table([one])


def test_the_chart_has_a_bar_for_each_figure_best_first():
    root = ET.fromstring(chart.svg(FOUND, NAMES))
    space = "{http://www.w3.org/2000/svg}"
    labels = [text.text for text in root.iter(f"{space}text") if text.get("text-anchor") == "end"]
    assert labels == ["naq", "naq-trio", "streaq", "naq", "huey", "streaq", "naq"]
    widths = [float(bar.get("width")) for bar in root.iter(f"{space}rect")]
    assert widths[:3] == sorted(widths[:3], reverse=True)


def test_contestants_are_found_by_name_and_pinned():
    assert [one.name for one in named(["saq", "naq"])] == ["naq", "saq"]
    with pytest.raises(ValueError, match="no contestant nobody"):
        named(["nobody"])
    assert all(one.ours or one.requirements.is_file() for one in ALL)
