"""Pages that change while one looks at them, and a server that goes away meanwhile."""

from __future__ import annotations

import os
import re
import signal

from playwright.sync_api import expect


def live(page, state="live"):
    expect(page.locator("#link")).to_have_attribute("data-state", state, timeout=20_000)


def tile(page, name):
    return page.locator(".tile", has_text=name).locator("b")


def test_numbers_change_without_a_reload(visit, site):
    page = visit("/")
    live(page)
    page.evaluate("window.same = true")

    job = site.enqueue("add", "1", "2", options=["--in", "1h"])
    expect(tile(page, "Delayed")).to_have_text("1")
    site.naq("cancel", job)
    expect(tile(page, "Delayed")).to_have_text("0")
    assert page.evaluate("window.same")


def test_a_job_is_followed_from_running_to_its_end(visit, site):
    job = site.enqueue("nap", "3600")
    page = visit(f"/jobs/{job}")
    live(page)

    expect(page.locator("h1")).to_contain_text("running")
    site.naq("cancel", job)
    expect(page.locator("h1")).to_contain_text("cancelled")


def test_what_the_reader_is_at_stays(visit, site):
    first = site.enqueue("broken", "first")
    site.wait_for("list-failed", lambda rows: first in {row["id"] for row in rows})
    site.naq("schedule", "browser_tasks:add", "1", "2", "--interval", "1h", "--id", "stays")
    page = visit("/dead")
    live(page)
    box = page.get_by_label(f"Select {first}")
    box.check()
    box.focus()

    second = site.enqueue("broken", "second")
    expect(page.get_by_label(f"Select {second}")).to_be_visible()
    expect(box).to_be_checked()
    expect(box).to_be_focused()
    expect(page.locator("[data-chosen]")).to_have_text("1 selected")

    page.goto(f"{site.url}/schedules")
    live(page)
    row = page.locator('tr[data-key="schedule stays"]')
    row.locator("details.more > summary").click()
    cron = row.get_by_label("Cron")
    cron.press_sequentially("5 4 ")
    site.naq("job-control", "stays", "pause")
    expect(row).to_contain_text("paused")
    cron.press_sequentially("* * *")
    expect(cron).to_be_focused()
    expect(cron).to_have_value("5 4 * * *")


def test_a_question_outlives_an_update(visit, site):
    job = site.enqueue("broken", "asked")
    site.wait_for("list-failed", lambda rows: job in {row["id"] for row in rows})
    page = visit("/dead")
    live(page)
    row = page.locator(f'tr[data-key="{job}"]')
    row.locator("summary").click()

    other = site.enqueue("broken", "other")
    expect(page.get_by_label(f"Select {other}")).to_be_attached()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#said")).to_contain_text(job)


def test_lines_appear_as_they_are_printed(visit, site):
    page = visit("/services/chatter")
    log = page.locator("#log")
    expect(log).to_contain_text("line 49")

    site.tick("\x1b[31mfresh\x1b[0m <b>line</b>")
    expect(log).to_contain_text("fresh <b>line</b>")
    texts = log.locator("div").all_inner_texts()
    assert len(texts) == len(set(texts))  # nothing twice, nothing missing
    assert [text for text in texts if text.startswith("line ")][:2] == [
        "line 0 <script>alert(1)</script>",
        "line 1 <script>alert(1)</script>",
    ]


def test_following_ends_where_one_scrolls_up_and_goes_on_at_the_end(visit, site):
    page = visit("/services/chatter")
    log, follow = page.locator("#log"), page.get_by_label("follow")
    expect(log).to_contain_text("line 49")
    expect(follow).to_be_checked()

    log.evaluate("(log) => { log.scrollTop = 0; }")
    expect(follow).not_to_be_checked()
    site.tick("further")
    expect(log).to_contain_text("further")
    assert log.evaluate("(log) => log.scrollTop") == 0
    follow.check()
    page.wait_for_function("() => log.scrollTop + log.clientHeight > log.scrollHeight - 8")


def test_a_server_that_is_killed_is_missed_and_found_again(visit, site):
    page = visit("/")
    live(page)
    page.evaluate("window.same = true")
    (nats,) = [row for row in site.json("ps") if row["service"] == "nats"]
    site.naq("stop", "worker")

    os.kill(nats["pid"], signal.SIGKILL)
    expect(page.locator("#problem")).to_contain_text("no connection", timeout=20_000)
    expect(page.locator("#problem")).to_be_hidden(timeout=20_000)
    site.enqueue("add", "1", "2")
    expect(tile(page, "Waiting")).to_have_text("1", timeout=20_000)
    site.naq("start", "worker")
    expect(tile(page, "Waiting")).to_have_text("0", timeout=20_000)
    assert page.evaluate("window.same")


def test_without_a_server_pages_say_so_and_fill_when_it_is_there(visit, site):
    site.naq("stop", "nats")
    page = visit("/jobs")

    expect(page.locator("main")).to_contain_text("Nothing to show yet")
    page.goto(f"{site.url}/services")
    expect(page.locator("tr[data-key=nats]")).to_contain_text("down")
    page.goto(f"{site.url}/jobs")
    site.naq("start", "nats")
    expect(page.locator("h1")).to_have_text("Jobs", timeout=20_000)


def test_a_restart_of_the_dashboard_is_survived_by_page_and_login(visit, site):
    address = re.sub(r".*:", "127.0.0.1:", site.url)
    text = (site.directory / "supervisor.toml").read_text()
    (site.directory / "supervisor.toml").write_text(text.replace("127.0.0.1:0", address))
    page = visit("/")
    live(page)
    page.evaluate("window.same = true")

    site.naq("reload")  # the address is the one it has; it is restarted for it
    site.naq("restart", "dashboard")
    live(page)
    job = site.enqueue("add", "1", "2", options=["--in", "1h"])
    expect(tile(page, "Delayed")).to_have_text("1", timeout=20_000)
    site.naq("cancel", job)
    assert page.evaluate("window.same")
