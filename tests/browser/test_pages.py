"""Every page in a real browser: what is on it, light and dark, on a phone, without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

PHONE = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "color_scheme": "dark",
}
PAGES = {
    "/": "Overview",
    "/queues/default": "default",
    "/jobs": "Jobs",
    "/jobs?state=failed": "Jobs",
    "/jobs/failing": "browser_tasks:broken",
    "/jobs/retried": "browser_tasks:later",
    "/jobs/done": "browser_tasks:echo",
    "/schedules": "Schedules",
    "/dead": "Dead letters",
    "/workers": "Workers",
    "/services": "Services",
    "/services/chatter": "chatter",
}

CHECKS = (Path(__file__).parent / "checks.js").read_text().strip()


def check(page, name):
    return page.evaluate(f"{CHECKS}.{name}()")


@pytest.fixture(scope="module", autouse=True)
def filled(site):
    site.seed()


def settled(page):
    """Wait until the page is live."""
    page.locator("#link[data-state=live]").wait_for()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_on_a_desk(visit, path):
    page = visit(path, color_scheme="light", reduced_motion="reduce")

    assert PAGES[path] in page.locator("h1").inner_text()
    settled(page)
    assert check(page, "overflow") <= 0
    assert check(page, "faint") == []
    page.emulate_media(color_scheme="dark")
    assert check(page, "faint") == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_on_a_phone(visit, path):
    page = visit(path, **PHONE)

    settled(page)
    assert check(page, "overflow") <= 0
    assert check(page, "faint") == []
    assert check(page, "beyond") == []  # whatever one may do can be reached without scrolling aside


@pytest.mark.parametrize("path", ["/", "/services", "/workers", "/schedules", "/dead"])
def test_nothing_jumps_when_a_page_becomes_live(visit, path):
    page = visit(path)

    page.locator("#link[data-updated]").wait_for()
    assert check(page, "jumps") < 0.01  # "good" is below 0.1: web.dev/articles/cls


def test_without_javascript_there_is_the_same_to_read_and_to_do(visit, site):
    page = visit("/dead", java_script_enabled=False)

    row = page.locator("tr[data-key=failing]")
    assert "what is wrong" in row.inner_text()
    assert row.get_by_role("button", name="Requeue").is_visible()
    row.locator("summary").click()
    assert "arguments are lost" in row.inner_text()
    page.goto(f"{site.url}/services/chatter")
    assert "line 49" in page.locator("#log").inner_text()
    assert not page.locator("#theme").is_visible()


def test_what_a_job_was_given_and_went_through(visit, site):
    page = visit("/jobs/failing")

    said = page.locator("main").inner_text()
    assert "what is wrong" in page.locator("pre").first.inner_text()
    assert "ValueError" in said
    assert "Dead letter" in said
    assert "browser_tasks.py" in page.locator("#live_outcome pre").inner_text()
    page.goto(f"{site.url}/jobs/retried")
    assert "Attempt 1 failed" in page.locator(".timeline").inner_text()
    assert "Next try" in page.locator(".timeline").inner_text()


def test_jobs_are_found_by_id_state_and_function(visit, site):
    page = visit("/")

    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.goto(f"{site.url}/jobs")
    page.keyboard.press("/")
    page.keyboard.type("failing")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/failing")
    page.goto(f"{site.url}/jobs?state=failed")
    page.get_by_label("Function").fill("nothing-like-this")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#live_jobs")).to_contain_text("fits these filters")
    page.get_by_label("Function").fill("broken")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_role("link", name="scheduled").click()
    page.wait_for_url("**state=scheduled**")


def test_a_filter_holds_while_the_page_changes(visit, site):
    page = visit("/services")

    page.goto(f"{site.url}/workers")
    settled(page)
    page.get_by_label("Filter workers").fill("scheduler")
    expect(page.locator("tbody tr:visible")).to_have_count(1)
    page.evaluate("document.dispatchEvent(new Event('naq:update'))")
    assert page.locator("tbody tr:visible").count() == 1


def test_the_theme_is_chosen_and_remembered(visit, site):
    page = visit("/", color_scheme="light")
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)

    button = page.locator("#theme")
    button.click()
    assert button.inner_text() == "light"
    button.click()
    assert button.inner_text() == "dark"
    assert page.evaluate(back) != light
    page.goto(f"{site.url}/jobs")
    assert button.inner_text() == "dark"
    assert page.evaluate(back) != light
    button.click()
    assert page.evaluate(back) == light


def test_one_gets_everywhere_with_the_keyboard(visit):
    page = visit("/")
    now = "document.activeElement"
    focused = f"({now}.textContent || {now}.getAttribute('aria-label')).trim()"

    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to content"
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(focused))
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert {"Jobs", "Services", "auto"} <= set(seen)
    assert any(re.search("Pause|default", text) for text in seen)


def test_a_page_that_is_not_there_says_so(visit, site):
    page = visit("/nothing/here")

    assert "There is no such page" in page.locator("main").inner_text()
    page.goto(f"{site.url}/jobs/nobody")
    assert "nobody" in page.locator("main").inner_text()
    page.get_by_role("link", name="Overview").first.click()
    page.wait_for_url(f"{site.url}/")
