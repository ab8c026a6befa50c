"""Hostile text in every place where a user can put some, and people who may not."""

from __future__ import annotations

import re
import subprocess
import sys
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

EVIL = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>{{1234*5678}}"
PLACES = (
    "/",
    "/jobs?state=failed",
    "/jobs?state=completed",
    "/jobs/evil",
    "/jobs/good",
    "/dead",
    "/schedules",
    "/workers",
    "/services",
    "/services/chatter",
)


@pytest.fixture(scope="module", autouse=True)
def poisoned(site):
    site.program(
        f"""
        import naq, browser_tasks as t
        evil = {EVIL!r}
        wait = naq.enqueue_sync(t.echo, {{evil: [evil]}}, job_id="good", meta={{evil: evil}})
        naq.enqueue_sync(t.broken, evil, job_id="evil", meta={{evil: evil}})
        naq.schedule_sync(t.add, evil, evil, interval=3600, schedule_id="evil")
        wait.result_sync(timeout=20)
        """
    )
    site.wait_for("list-failed", lambda rows: any(row["id"] == "evil" for row in rows))
    site.tick(EVIL)


@pytest.mark.parametrize("path", PLACES)
def test_text_stays_text(visit, path):
    page = visit(path)  # the fixture fails at any dialog, error or refusal of the CSP

    page.locator("#link[data-state=live]").wait_for()
    assert page.locator("img").count() == 0
    assert page.locator("script:not([src^='/static/'])").count() == 0
    assert "7006652" not in page.locator("main").inner_text()


def test_what_was_given_is_shown_as_it_is(visit, site):
    page = visit("/jobs/good")
    assert "<script>alert(1)</script>" in page.locator("pre").first.inner_text()
    page.goto(f"{site.url}/jobs/evil")
    assert EVIL in page.locator("p.error").inner_text()
    page.goto(f"{site.url}/services/chatter")
    expect(page.locator("#log")).to_contain_text(EVIL)


@pytest.mark.parametrize(
    "path",
    [
        "/{}",
        "/jobs/{}",
        "/jobs?state={}",
        "/jobs?function={}&queue={}",
        "/jobs?cursor={}",
        "/jobs?q={}",
        "/dead?queue={}",
        "/queues/{}",
        "/services/{}",
        "/login?back={}",
    ],
)
def test_text_in_an_address_stays_text(visit, path):
    page = visit(path.replace("{}", quote(EVIL, safe="")))

    assert page.locator("img").count() == 0
    assert page.locator("script:not([src^='/static/'])").count() == 0


def test_another_site_can_do_nothing(visit, site, chromium):
    page = visit("/")
    stranger = page.context.new_page()
    stranger.route(
        "http://evil.example/",
        lambda route: route.fulfill(
            content_type="text/html",
            body=f"""<form method=post action="{site.url}/queues/default/pause">
            <input name=csrf value=guess><button>Win</button></form>
            <iframe src="{site.url}/"></iframe>""",
        ),
    )
    stranger.goto("http://evil.example/")
    stranger.get_by_role("button").click()

    expect(stranger.locator("body")).not_to_contain_text("is paused")
    assert not any(row["paused"] for row in site.json("list-queues"))
    frames = [frame.url for frame in stranger.frames]
    assert f"{site.url}/" not in frames[1:]


def test_a_form_without_its_token_is_refused(visit):
    page = visit("/queues/default")

    page.evaluate("document.querySelector('#act [name=csrf]').value = 'guess'")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("main")).to_contain_text("does not come from a page of this dashboard")


def test_nobody_looks_without_the_token(visit, site):
    page = visit("/jobs?state=failed", log_in=False)

    assert "Log in" in page.locator("h1").inner_text()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Wrong token.")
    page.get_by_label("Token").fill(site.token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/jobs?state=failed")  # where one wanted to go
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert site.token not in cookie["value"]
    assert page.evaluate("document.cookie") == ""


def test_one_logs_out(visit, site):
    page = visit("/")

    assert site.token not in page.url
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(f"{site.url}/jobs")
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_page_of_somebody_who_was_logged_out_asks_who_it_is(visit):
    page = visit("/")
    page.locator("#link[data-state=live]").wait_for()

    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new Event('pagehide'))")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.get_by_label("Token")).to_be_visible()


def test_read_only_shows_nothing_to_press(visit, site):
    run = [sys.executable, "-m", "naq", "dashboard", "--port", "0", "--readonly"]
    dashboard = subprocess.Popen(
        run, cwd=site.directory, env=site.env, stderr=subprocess.PIPE, text=True
    )
    try:
        link = re.search(r"http\S+", dashboard.stderr.readline())[0]
        url = link.partition("/login")[0]
        page = visit("/dead", url=url, link=link)
        expect(page.locator("footer")).to_contain_text("read-only")
        assert page.get_by_role("button", name="Requeue").count() == 0
        assert page.get_by_role("checkbox").count() == 0
        for path in ("/", "/schedules", "/services", "/services/chatter"):
            page.goto(url + path)
            assert page.locator("main button").count() == 0
    finally:
        dashboard.terminate()
        dashboard.wait(20)
        dashboard.stderr.close()
