"""The line's pages in a real browser: edited by keyboard, recorded with a microphone, tried to the end of a call."""

from __future__ import annotations

import math
import re
import sqlite3
import struct
import wave
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import CHROMIUM, Site
from tests.browser.test_look import UNDER_A_THUMB, check, level, look

MANAGER = "okafor"


def press_until(page: Page, key: str, target: str, most: int = 80) -> None:
    """Move with a key until `target` has the focus, as somebody without a mouse does."""
    for _ in range(most):
        if page.evaluate("t => document.activeElement.matches(t)", target):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{target} is not reached by {key}")


def test_hours_and_greeting_are_changed_and_published_by_keyboard_alone(
    site: Site, signed_in: Callable[..., Page]
) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/line/?at=open")
    press_until(page, "Tab", "#step-hours")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-title")).to_have_text("Opening hours")
    press_until(page, "Tab", "[name=opens-0]")
    page.keyboard.press("Control+a")
    page.keyboard.type("7:30 am")
    page.keyboard.press("Enter")
    expect(page.locator("[data-toast]")).to_contain_text("Callers hear it once you publish")
    expect(page.locator("#draft")).to_contain_text("Monday now opens 7:30")
    press_until(page, "Tab", "#step-lines")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-title")).to_have_text("After the greeting")
    press_until(page, "Tab", "[name=lines][value=emergency-988]")
    page.keyboard.press("Space")
    press_until(page, "Tab", "#panel button.btn-primary")
    page.keyboard.press("Enter")
    expect(page.locator("#step-lines .nb-tag")).to_have_text("changed")
    press_until(page, "Shift+Tab", "a.btn-primary")
    page.keyboard.press("Enter")
    expect(page.locator("#confirm")).to_contain_text("Publish version 2?")
    look(page, "before publishing")
    press_until(page, "Tab", "#confirm button.btn-primary")
    page.keyboard.press("Enter")
    expect(page.locator("[data-toast]")).to_contain_text("Published")
    expect(page.locator("#draft")).to_contain_text("Version 2, since")
    page.goto(site.url + "/line/versions?back=1")
    look(page, "bring back")
    page.keyboard.press("Enter")  # the question has the focus
    expect(page.locator("main")).to_contain_text("Brought back version 1.")


def test_a_step_is_chosen_without_losing_ones_place(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/line/?at=closed")
    page.locator("#step-promise").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    page.click("#step-promise")
    expect(page.locator("#panel-title")).to_have_text("Promise")
    assert page.evaluate("scrollY") == before > 0
    assert "node=promise" in page.url
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("#step-review")
    expect(page.locator("#panel-title")).to_be_in_viewport()


PANELS = (
    "hours", "holidays", "closures", "language", "greeting", "lines", "menu", "key-1", "key-new", "callback", "message",
    "review", "promise", "answer", "emergency",
)  # fmt: skip


def test_every_panel_has_no_barrier(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    for at, node in enumerate(PANELS):
        wide = at % 2 == 0
        page.set_viewport_size({"width": 1280 if wide else 390, "height": 900})
        page.emulate_media(color_scheme="light" if wide else "dark", reduced_motion="reduce")
        page.goto(f"{site.url}/line/?at=holiday&node={node}&lang=es")
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        check(page, node)
        page.set_viewport_size({"width": 320, "height": 800})
        level(page, f"{node} 320")
        assert page.evaluate(UNDER_A_THUMB) == [], node


def test_the_other_pages_have_no_barrier(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    for path in (
        "/line/?at=closed",
        "/line/try",
        "/line/heard",
        "/line/versions",
        "/line/versions/1?at=lunch&lang=es",
    ):
        page.goto(site.url + path)
        look(page, path)
        assert page.evaluate(UNDER_A_THUMB) == [], path


def test_the_page_of_a_damaged_line_has_no_barrier(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/line/?node=review")
    page.locator("#panel-form button.btn-primary").click()
    expect(page.locator("[data-toast]")).to_be_visible()
    for table in NEWEST:
        with damaged(site, table):
            page.goto(site.url + "/line/")
            expect(page.locator("#damage")).to_contain_text("cannot be read")
            look(page, f"damaged {table}")
            if table == "line_version":
                page.goto(site.url + "/line/versions")
                look(page, "versions, the last one damaged")
    page.goto(site.url + "/line/")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.click("text=Discard >> nth=0")
    page.click("#confirm button.btn-error")


NEWEST = {
    "line_draft": "plan != ''",
    "line_version": "number = (SELECT max(number) FROM line_version v WHERE v.practice_id = line_version.practice_id)",
}


@contextmanager
def damaged(site: Site, table: str) -> Iterator[None]:
    """The draft or the newest version cannot be read, for a while."""
    with closing(sqlite3.connect(site.home / "db" / "nightbell.sqlite3", timeout=10)) as database:
        kept = database.execute(f"SELECT plan, rowid FROM {table} WHERE {NEWEST[table]}").fetchall()
        assert kept
        change = f"UPDATE {table} SET plan = ? WHERE rowid = ?"
        try:
            with database:
                database.executemany(change, [("{", row) for _, row in kept])
            yield
        finally:
            with database:
                database.executemany(change, kept)


# Recording.


def voice(path: Path) -> Path:
    """Three seconds that rise and fall as speech does, 48 kHz."""
    rate = 48_000
    samples = [
        round(
            9000 * max(0.0, math.sin(2 * math.pi * 1.5 * i / rate)) * math.sin(2 * math.pi * 300 * i / rate)
        )
        for i in range(3 * rate)
    ]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return path


@pytest.fixture
def microphone(chromium: Browser, tmp_path: Path) -> Iterator[Browser]:
    """A browser whose microphone plays a file."""
    arguments = [
        "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={voice(tmp_path / 'voice.wav')}", "--mute-audio",
    ]  # fmt: skip
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=arguments)
    yield browser
    browser.close()


def test_a_greeting_is_recorded_heard_and_used(
    site: Site, signed_in: Callable[..., Page], microphone: Browser
) -> None:
    signed_in(MANAGER)
    context = microphone.new_context(storage_state=site.kept[MANAGER], ignore_https_errors=True)
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
    page.goto(site.url + "/line/?at=closed&node=greeting&lang=es")
    part = page.locator("#own-own-greeting-closed")
    part.locator("summary").click()
    part.locator("textarea").fill("Está llamando a Maple Street. Estamos cerrados.")
    part.locator("[data-record]").click()
    expect(part.locator("[data-clock]")).to_have_text(re.compile("^[2-9]"), timeout=15_000)
    # The voice has pauses, and the meter falls in them: at some moment it is up.
    expect(part.locator("[data-level]")).to_have_attribute("width", re.compile(r"^(2[1-9]|[3-9]\d|100)$"))
    check(page, "while recording")
    part.locator("[data-stop]").click()
    part.locator("[data-listen]").click()
    expect(part.locator("[data-says]")).to_have_text("Playing your recording.")
    part.locator("[data-keep]").click()
    part = page.locator("#own-own-greeting-closed")
    expect(part).to_contain_text("As loud as the other prompts")
    assert part.locator(".nb-take-wave rect").count() == 90
    check(page, "recorded")
    part.locator("text=Use it").click()
    expect(page.locator("#own-own-greeting-closed")).to_contain_text("Recorded here by Chidi Okafor")
    expect(page.locator("#report")).to_contain_text("not recorded in English")
    page.click("text=Discard >> nth=0")
    page.click("#confirm button.btn-error")
    expect(page.locator("#draft")).to_contain_text("None.")
    assert trouble == []
    context.close()


def test_two_presses_open_one_microphone_and_another_panel_closes_it(
    site: Site, signed_in: Callable[..., Page], microphone: Browser
) -> None:
    signed_in(MANAGER)
    context = microphone.new_context(storage_state=site.kept[MANAGER], ignore_https_errors=True)
    page = context.new_page()
    page.add_init_script(
        """window.opened = [];
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (...what) => {
          const stream = await ask(...what);
          window.opened.push(...stream.getTracks());
          return stream;
        };"""
    )
    states = "window.opened.map((track) => track.readyState)"
    page.goto(site.url + "/line/?at=closed&node=greeting")
    part = page.locator("#own-own-greeting-closed")
    part.locator("summary").click()
    part.locator("[data-record]").evaluate("button => { button.click(); button.click() }")
    expect(part.locator("[data-clock]")).to_have_text(re.compile("^[1-9]"), timeout=15_000)
    assert page.evaluate(states) == ["live"]
    page.click("#step-review")
    expect(page.locator("#panel-title")).to_have_text("Review")
    assert page.evaluate(states) == ["ended"]
    context.close()


def test_a_sentence_of_ours_is_recorded_by_phone(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/line/?at=closed&node=review")
    part = page.locator("details:has(> summary:text('Our words, or yours'))")
    expect(part).not_to_have_attribute("open", "")
    part.locator("> summary").click()
    part.get_by_role("link", name=re.compile("press two|message", re.I)).first.click()
    part = page.locator("section[id^=own-]")
    expect(part.locator("textarea")).to_be_in_viewport()
    check(page, "a sentence chosen")
    part.get_by_text("Record by phone").click()
    expect(part).to_contain_text(re.compile(r"Call sip:try-\d{6}@127\.0\.0\.1:\d+"))
    look(page, "waiting for a call")
    with page.expect_response(lambda answer: "/line/recording/news" in answer.url) as asked:
        pass
    assert asked.value.status == 204, "nothing has come, so nothing moves"
    part.get_by_text("Do not record by phone").click()
    expect(part).not_to_contain_text("sip:")


# Trying a call.


def test_a_call_is_tried_to_its_end_by_keys(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/line/try")
    page.check("[data-silent]")
    page.click("[data-call-button]")
    expect(page.locator("[data-node]")).to_have_text("Menu")
    expect(page.locator("[data-lines]")).to_contain_text(
        "If this is a medical emergency, hang up and call 911."
    )
    look(page, "the menu, while trying")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.keyboard.press("1")
    expect(page.locator("[data-node]")).to_have_text("Call-back number")
    page.keyboard.press("2")
    expect(page.locator("[data-node]")).to_have_text("Keying in a number")
    for digit in "5035550199":
        page.keyboard.press(digit)
    expect(page.locator("[data-node]")).to_have_text("Is the number right?")
    page.keyboard.press("1")
    expect(page.locator("[data-recording]")).to_be_visible()
    page.keyboard.press("s")
    page.keyboard.press("#")
    expect(page.locator("[data-node]")).to_have_text("Review")
    page.keyboard.press("1")
    expect(page.locator("[data-end-title]")).to_have_text("A message in the inbox")
    expect(page.locator("[data-end-facts]")).to_contain_text("(503) 555-0199, keyed in")
    expect(page.locator("[data-end-facts]")).to_contain_text("Urgent: the team on call is told at once")
    expect(page.locator("[data-end-told]")).to_contain_text("Your message is saved.")
    look(page, "the end of a call")


def test_a_call_is_heard_as_callers_hear_it(site: Site, signed_in: Callable[..., Page]) -> None:
    """With sound: the first words take their time, a key waits until 911 was said."""
    page = signed_in(MANAGER)
    sounds: list[int] = []
    page.on("response", lambda r: sounds.append(r.status) if "/line/clip/" in r.url else None)
    page.goto(site.url + "/line/try")
    page.click("[data-call-button]")
    expect(page.locator("[data-node]")).to_have_text("The first words")
    page.keyboard.press("0")
    expect(page.locator("[data-node]")).to_have_text("The first words")
    expect(page.locator("[data-node]")).to_have_text(
        "Before the tone", timeout=30_000
    )  # when those were heard
    page.keyboard.press("h")
    expect(page.locator("[data-end-title]")).to_contain_text("A missed patient")
    assert sounds and set(sounds) == {200}
