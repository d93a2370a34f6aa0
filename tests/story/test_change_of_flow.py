"""A manager changes hours and greeting in the browser: the next call hears it, a call in progress does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests import sound
from tests.browser.conftest import CHROMIUM, Site
from tests.phone.house import HandCaller
from tests.stack import ROOT, Stack, running, wait_for

from nightbell.core.capture import Codec
from nightbell.flow.clips import CLIPS
from nightbell.phone.caller import Sound
from nightbell.sip import g711
from nightbell.sip.rtp import BadRtp, unpack

expect.set_options(timeout=30_000)  # a crowded machine is slow, not wrong
OWN = {"en": ROOT / "tests" / "speech" / "cards_005.wav", "es": ROOT / "tests" / "speech" / "jfk.wav"}


class Listener(Sound):
    """Keeps what it hears, on the sender's time line."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, bytes]] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        super().datagram_received(data, addr)
        try:
            packet = unpack(data)
        except BadRtp:
            return
        if packet.payload_type == 0:
            self.heard.append((packet.timestamp, packet.payload))

    def samples(self) -> sound.Samples:
        if not self.heard:
            return np.zeros(1)
        first = self.heard[0][0]
        line = bytearray(b"\xff") * (max((t - first) % 2**32 for t, _ in self.heard) + 160)
        for stamp, payload in self.heard:
            at = (stamp - first) % 2**32
            line[at : at + len(payload)] = payload
        return np.frombuffer(g711.decode(bytes(line), Codec.PCMU), "<i2").astype(float)


def call(stack: Stack, caller: str, seconds: float, pressed: tuple[float, str] = (1e9, "")) -> sound.Samples:
    """Listen for so long, pressing a key after a while; what was heard."""

    async def listen() -> sound.Samples:
        hand = HandCaller(SimpleNamespace(uri=stack.uri()), caller)  # type: ignore[arg-type]
        hand.sound = Listener()
        async with hand:
            hand.sound.target = hand.target
            talking = asyncio.create_task(hand.sound.run())
            at, key = pressed
            await asyncio.sleep(min(at, seconds))
            if key:
                hand.press(key)
                await asyncio.sleep(max(0.0, seconds - at))
            talking.cancel()
            return hand.sound.samples()

    return asyncio.run(listen())


def clip(name: str) -> sound.Samples:
    ulaw = (CLIPS / f"{name}.ulaw").read_bytes()
    return np.frombuffer(g711.decode(ulaw, Codec.PCMU), "<i2").astype(float)


def hears(heard: sound.Samples, wanted: sound.Samples) -> bool:
    return sound.correlation(wanted, heard)[0] > 0.95


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("change")
    (folder / "no-models").mkdir()
    with running(folder, NIGHTBELL_MODELS=str(folder / "no-models")) as stack:
        yield stack


@pytest.fixture(scope="module")
def manager(stack: Stack) -> Iterator[Page]:
    person = stack.user("manager")
    site = Site(stack.url, {person["login"]: person}, stack.home / "tls" / "ca.pem", stack.home)
    with sync_playwright() as play:
        chromium: Browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"]
        )
        page = chromium.new_page(
            ignore_https_errors=True, viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
        )
        page.goto(stack.url + "/account/login/?how=password")
        page.fill("#id_login", person["login"])
        page.fill("#id_password", person["password"])
        page.click("text=Go on to the code")
        page.fill("#id_code", site.code(person["login"]))
        page.click("button:has-text('Sign in')")
        page.wait_for_url(lambda address: "/account/" not in address)
        yield page
        chromium.close()


def _hours(page: Page, stack: Stack, opens: str, closes: str) -> None:
    """The same every day."""
    page.goto(stack.url + "/line/?at=closed&node=hours")
    for day in range(7):
        page.fill(f"[name=opens-{day}]", opens)
        page.fill(f"[name=closes-{day}]", closes)
        if page.locator(f"[name=lunch-{day}]").count():
            page.fill(f"[name=lunch-{day}]", "")
            page.fill(f"[name=lunch-end-{day}]", "")
    page.click("text=Keep in the draft")
    expect(page.locator("[data-toast]")).to_contain_text("Kept in the draft")


def _no_holidays(page: Page, stack: Stack) -> None:
    page.goto(stack.url + "/line/?at=closed&node=holidays")
    for box in page.locator("[name=observed]").all():
        box.uncheck()
    page.click("text=Keep in the draft")
    expect(page.locator("[data-toast]")).to_contain_text("Kept in the draft")


def _own_greeting(page: Page, stack: Stack, language: str) -> None:
    """Of the hours in which the practice is open: heard by nobody while it never is."""
    page.goto(stack.url + f"/line/?at=open&node=greeting&lang={language}")
    part = page.locator("#own-own-greeting-open")
    part.locator("summary").click()
    part.locator("input[type=file]").set_input_files(OWN[language])
    part.locator("button[value=upload]").click()
    page.locator("#own-own-greeting-open button:has-text('Use it')").click()
    expect(page.locator("#own-own-greeting-open")).to_contain_text("Upload")


def _published(page: Page, stack: Stack) -> float:
    """When the button was pressed."""
    page.goto(stack.url + "/line/?at=open&node=greeting")
    page.locator("a:has-text('Publish')").click()
    clicked = time.monotonic()
    page.locator("#confirm button:has-text('Publish version')").click(no_wait_after=True)
    return clicked


def test_a_change_is_heard_by_the_next_call_and_by_no_call_in_progress(stack: Stack, manager: Page) -> None:
    """Whatever the hour of the test: never open before, open round the clock after. The new greeting is that of open
    hours, so who hears it hears both changes."""
    _no_holidays(manager, stack)
    _hours(manager, stack, "", "")
    _published(manager, stack)
    expect(manager.locator("#draft")).to_contain_text("Version 2, since", timeout=10_000)
    time.sleep(2.0)
    _hours(manager, stack, "0:00", "24:00")
    for language in ("en", "es"):
        _own_greeting(manager, stack, language)
    with ThreadPoolExecutor() as pool:
        during = pool.submit(call, stack, "6175550201", 42.0)
        time.sleep(4.0)  # its first words are said
        clicked = _published(manager, stack)
        time.sleep(max(0.0, clicked + 2.0 - time.monotonic()))
        heard = pool.submit(call, stack, "6175550202", 30.0)
        before, after = during.result(), heard.result()
    own = sound.of_file(OWN["en"])[4000:24000]
    assert hears(after, own)
    assert not hears(after, clip("en/greeting-reached"))
    assert not hears(after, clip("en/greeting-closed"))
    assert not hears(before, own)
    assert hears(before, clip("en/greeting-reached"))
    assert hears(before, clip("en/greeting-closed"))
    assert hears(before, clip("en/menu-wait"))  # undisturbed, to the end of its menu
    expect(manager.locator("body")).to_contain_text("Version 3", timeout=10_000)


def test_the_old_version_is_back_in_two_clicks(stack: Stack, manager: Page) -> None:
    manager.goto(stack.url + "/line/versions")
    manager.locator("a:has-text('Bring back')").first.click()
    manager.locator("button:has-text('Bring it back')").click()
    time.sleep(2.0)
    with ThreadPoolExecutor() as pool:  # the browser's loop holds this thread
        heard = pool.submit(call, stack, "6175550203", 22.0).result()
    assert hears(heard, clip("en/greeting-closed"))
    assert not hears(heard, sound.of_file(OWN["en"])[4000:24000])


def test_both_calls_left_a_row(stack: Stack) -> None:
    def rows() -> list[dict[str, Any]] | None:
        found = [m for m in stack.messages() if (m["callback_number"] or "").startswith("617555020")]
        return found if len(found) == 3 else None

    assert {m["kind"] for m in wait_for("the three calls", rows, 20)} == {"missed"}
