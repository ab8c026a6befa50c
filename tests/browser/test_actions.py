"""Everything one can do on the pages, done with the mouse; what came of it is asked elsewhere."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect


@pytest.fixture
def sure(visit):
    """Answer the question that a button asks."""

    def answer(page, button, yes, *, keep=False):
        button.click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        asked = dialog.locator("p").inner_text()
        dialog.get_by_role("button", name="Keep" if keep else yes).click()
        return asked

    return answer


def said(page, text):
    expect(page.locator("#said")).to_contain_text(text)


def row(page, key):
    return page.locator(f'tr[data-key="{key}"]')


def test_a_queue_is_paused_and_goes_on(visit, site):
    site.enqueue("add", "1", "2", options=["--wait", "--timeout", "20s"])
    page = visit("/")
    queue = row(page, "default")

    queue.get_by_role("button", name="Pause").click()
    said(page, "queue default is paused")
    expect(queue).to_contain_text("paused")
    site.wait_for("list-queues", lambda rows: any(one["paused"] for one in rows))
    queue.get_by_role("button", name="Resume").click()
    said(page, "queue default is resumed")
    expect(queue).to_contain_text("active")
    page.reload()
    expect(page.locator("#said")).to_have_count(0)  # it is said once


def test_a_queue_is_purged_when_one_is_sure(visit, site, sure):
    site.naq("pause-queue", "mail")
    for number in "12":
        site.enqueue("add", number, "2", options=["--queue", "mail"])
    page = visit("/queues/mail")
    purge = page.locator("summary", has_text="Purge")

    asked = sure(page, purge, "Purge", keep=True)
    assert "cannot be brought back" in asked
    expect(page.locator("#live_tiles")).to_contain_text(re.compile(r"Waiting\s*2"))
    sure(page, purge, "Purge")
    said(page, "2 jobs of queue mail removed")
    expect(page.locator("#live_tiles")).to_contain_text(re.compile(r"Waiting\s*0"))
    page.get_by_role("button", name="Resume").click()
    said(page, "is resumed")


def test_jobs_are_cancelled(visit, site, sure):
    running = site.enqueue("nap", "3600")
    delayed = site.enqueue("add", "1", "2", options=["--in", "1h"])
    site.wait_for("job", lambda job: job["status"] == "running", running)
    page = visit(f"/jobs/{running}")

    assert "will be stopped" in sure(page, page.locator("summary", has_text="Cancel"), "Cancel job")
    said(page, "is cancelled")
    expect(page.locator("h1")).to_contain_text("cancelled")
    page.goto(f"{site.url}/schedules")
    sure(page, row(page, f"delayed {delayed}").locator("summary"), "Cancel")
    said(page, f"job {delayed} is cancelled")
    expect(row(page, f"delayed {delayed}")).to_have_count(0)
    site.wait_for("job", lambda job: job["status"] == "cancelled", delayed)


def dead(site, count):
    ids = [site.enqueue("broken", "this") for _ in range(count)]
    site.wait_for("list-failed", lambda rows: set(ids) <= {one["id"] for one in rows})
    return ids


def test_a_dead_letter_is_requeued_and_another_deleted(visit, site, sure):
    first, second = dead(site, 2)
    page = visit("/dead")

    sure(page, row(page, second).locator("summary"), "Delete")
    said(page, f"the dead letter of job {second} is deleted")
    expect(row(page, second)).to_have_count(0)
    row(page, first).get_by_role("button", name="Requeue").click()
    said(page, f"job {first} is queued again")
    expect(row(page, first)).to_have_count(1)  # it fails again


def test_dead_letters_are_requeued_and_deleted_in_bulk(visit, site, sure):
    first, second, third = dead(site, 3)
    page = visit("/dead")

    row(page, first).get_by_role("checkbox").check()
    expect(page.locator("[data-chosen]")).to_have_text("1 selected")
    page.get_by_label("all on this page").check()
    expect(row(page, third).get_by_role("checkbox")).to_be_checked()
    row(page, third).get_by_role("checkbox").uncheck()
    sure(page, page.locator("summary", has_text="Delete selected"), "Delete selected")
    said(page, " deleted")
    expect(row(page, second)).to_have_count(0)
    expect(row(page, third)).to_have_count(1)
    page.get_by_label("all on this page").check()
    page.get_by_role("button", name="Requeue selected").click()
    said(page, "1 dead letter is queued again")
    assert first not in {one["id"] for one in site.json("list-failed")}


def test_a_schedule_is_run_paused_changed_and_cancelled(visit, site, sure):
    site.naq("schedule", "browser_tasks:add", "1", "2", "--interval", "1h", "--id", "hourly")
    page = visit("/schedules")
    hourly = row(page, "schedule hourly")

    hourly.get_by_role("button", name="Run now").click()
    said(page, "schedule hourly runs now as")
    hourly.get_by_role("button", name="Pause").click()
    said(page, "schedule hourly is paused")
    expect(hourly).to_contain_text("paused")
    hourly.get_by_role("button", name="Resume").click()
    said(page, "schedule hourly is active")
    hourly.locator("details.more > summary").click()
    form = hourly.locator("form")
    form.get_by_label("Interval").fill("")
    form.get_by_label("Cron").fill("0 3 * * *")
    form.get_by_role("button", name="Reschedule").click()
    said(page, "schedule hourly is active")
    expect(hourly).to_contain_text("0 3 * * *")
    sure(page, hourly.locator("summary", has_text="Cancel"), "Cancel")
    said(page, "schedule hourly is cancelled")
    site.wait_for(
        "list-scheduled",
        lambda rows: {one["id"]: one["status"] for one in rows}["hourly"] == "cancelled",
    )


def test_what_cannot_be_is_refused_with_a_sentence(visit, site):
    site.naq("schedule", "browser_tasks:add", "1", "2", "--interval", "1h", "--id", "wrong")
    page = visit("/schedules")

    wrong = row(page, "schedule wrong")
    wrong.locator("details.more > summary").click()
    wrong.get_by_label("Cron").fill("61 * * * *")
    wrong.get_by_label("Interval").fill("")
    wrong.locator("form").get_by_role("button", name="Reschedule").click()
    expect(page.locator("main")).to_contain_text("61")
    page.get_by_role("link", name="Back").click()
    expect(wrong).to_contain_text("every 1h")


def test_services_are_restarted_stopped_started_and_scaled(visit, site, sure):
    page = visit("/services")

    before = row(page, "chatter").locator("td").nth(2).inner_text()
    row(page, "chatter").get_by_role("button", name="Restart").click()
    said(page, "chatter is restarted")
    expect(row(page, "chatter").locator("td").nth(2)).not_to_have_text(before)
    sure(page, row(page, "chatter").locator("summary"), "Stop")
    said(page, "chatter is stopped")
    expect(row(page, "chatter")).to_contain_text("down")
    row(page, "chatter").get_by_role("button", name="Start").click()
    expect(row(page, "chatter")).to_contain_text("up")
    page.goto(f"{site.url}/services/worker")
    page.get_by_role("spinbutton", name="Replicas").fill("2")
    page.get_by_role("button", name="Scale").click()
    said(page, "worker has 2 replicas")
    expect(page.locator("#live_service tbody tr")).to_have_count(2)


def test_what_is_destroyed_can_be_kept_with_the_keyboard(visit, site):
    (job,) = dead(site, 1)
    page = visit("/dead")

    row(page, job).locator("summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    said(page, f"the dead letter of job {job} is deleted")


def test_everything_done_is_in_the_log_with_who(visit, site):
    site.enqueue("add", "1", "2", options=["--wait", "--timeout", "20s"])
    page = visit("/queues/default")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    said(page, "is resumed")

    logged = site.naq("logs", "dashboard", "--tail", "500")
    assert "browser at 127.0.0.1: queues default pause: queue default is paused" in logged
    assert site.token not in logged.replace(f"log in: {site.link}", "")
