"""Takes the pictures of the documents. Not collected by itself: `script/pictures` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.browser.conftest import ROOT, Site
from tests.browser.test_oncall_pages import leave_out
from tests.browser.test_trunks import phone_says

from nightbell.core.clock import utc_now

WIDE, NARROW = (1280, 900), (390, 844)
FOLDER = Path(os.environ.get("PICTURES_FOLDER", "."))
_TOP = "place => { place.scrollIntoView({ block: 'start' }); scrollBy(0, -80) }"


def views(page: Page, name: str, show: Callable[[], object]) -> None:
    """One page by day and by night, wide and narrow; `show` brings it up anew."""
    for dark in (False, True):
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        for width, height in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": height})
            show()
            page.screenshot(path=FOLDER / f"{name}-{width}{'-night' if dark else ''}.png")


def at(page: Page, address: str, top: str = "") -> Callable[[], None]:
    """Goes there and, with `top`, scrolls to what that selector finds."""

    def show() -> None:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        if top:
            page.locator(top).first.evaluate(_TOP)

    return show


def test_take(site: Site, open_page: Callable[..., Page], signed_in: Callable[..., Page]) -> None:
    door, inside = open_page(), signed_in("rivera")
    inside.goto(site.url + "/")
    addresses = inside.eval_on_selector_all("h3 a", "found => found.map(a => a.href)")
    colleague, message = signed_in("patel"), addresses[-1]
    for address in addresses[:-1]:  # one urgent message is left, as on most nights
        colleague.goto(address)
        colleague.locator("button:visible", has_text="I have this").first.click()
    audit = signed_in("lindqvist")
    for name, page, address in (
        ("log-in", door, site.url + "/account/login/"), ("inbox", inside, site.url + "/"),
        ("message", inside, message), ("oncall", inside, site.url + "/oncall/"), ("audit", audit, site.url + "/audit/"),
    ):  # fmt: skip
        views(page, name, at(page, address))
    views(inside, "missed", at(inside, site.url + "/", ".nb-row:has-text('possible missed patient')"))


def test_take_the_call_flow(site: Site, signed_in: Callable[..., Page]) -> None:
    """As a manager sees it with a change in the draft, and a call that is tried out, at its menu."""
    page = signed_in("okafor")
    page.goto(site.url + "/line/?at=closed&node=promise")
    page.select_option("[name=promise]", "45")
    page.locator("#panel-form button.btn-primary").click()
    expect(page.locator("[data-toast]")).to_be_visible()
    views(page, "call-flow", at(page, site.url + "/line/?at=closed&node=key-1"))

    def menu() -> None:
        page.goto(site.url + "/line/try")
        page.check("[data-silent]")
        page.click("[data-call-button]")
        expect(page.locator("[data-node]")).to_have_text("Menu")

    views(page, "try-a-call", menu)


def test_take_on_call(site: Site, signed_in: Callable[..., Page]) -> None:
    """As a manager sees it when nobody is on call in three days, and who is told; and a clinician's own ways."""
    page = signed_in("okafor")
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    page.goto(site.url + "/oncall/rotation/new")
    for row, name in enumerate(("Dr. Anika Patel", "Dr. Elena Rivera")):
        page.locator("[name=member]").nth(row).select_option(label=name)
    page.fill("[name=every]", "3")
    page.select_option("[name=unit]", "day")
    page.fill("#r-starts", f"{utc_now() - timedelta(days=8):%Y-%m-%d}")
    page.locator("[data-add]").nth(1).click()
    week = page.locator("[name^=days-]")
    for day in (0, 1, 2, 3, 5, 6):
        week.nth(day).check()
    page.fill("[name^=start-]", "08:00")
    page.fill("[name^=end-]", "08:00")
    page.click("text=Add this rotation")
    leave_out(site, page, "Fri")
    views(page, "oncall-gap", at(page, site.url + "/oncall/"))
    views(page, "who-is-told", at(page, site.url + "/oncall/policies"))
    views(page, "policy", at(page, site.url + "/oncall/policy/new"))
    own = signed_in("patel")
    views(own, "my-ways", at(own, site.url + "/account/ways/"))


def live_a_month(site: Site) -> None:
    keys, paths = site.home.parent / "keys", os.pathsep.join([str(ROOT), str(ROOT / "src")])
    env = os.environ | {
        "NIGHTBELL_HOME": str(site.home), "NIGHTBELL_KEYS": str(keys), "NIGHTBELL_URL": site.url, "PYTHONPATH": paths,
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "tests.browser.month"], env=env, cwd=site.home, check=True, timeout=120
    )


def test_take_what_followed(site: Site, signed_in: Callable[..., Page]) -> None:
    """A message with its owner, who can call back; the same while the telephone rings; and the month in numbers."""
    live_a_month(site)
    owner = signed_in("patel")
    owner.goto(site.url + "/?view=mine")
    for address in owner.eval_on_selector_all("a.go, h3 a", "found => found.map(a => a.href)"):
        owner.goto(address)  # the month has some that were called before
        if owner.locator("button:visible", has_text="Call (").count():
            break
    views(owner, "message-owned", at(owner, address))
    colleague = signed_in("rivera")
    views(colleague, "message-of-a-colleague", at(colleague, address))
    manager = signed_in("okafor")
    views(manager, "numbers", at(manager, site.url + "/numbers/"))
    owner.goto(address)
    owner.locator("button:visible", has_text="Call (").first.click()
    expect(owner.locator("#call-live")).to_contain_text("Your phone is about to ring")
    views(owner, "call-back", at(owner, address))


def test_take_the_carriers(site: Site, signed_in: Callable[..., Page]) -> None:
    """As the person who installs it sees them: one registered, one whose risk is to be accepted."""
    page = signed_in("tran")
    for carrier, typed in (
        ("telnyx", {"user": "maplestreet", "password": "invented"}),
        ("other", {"name": "PBX in the cellar", "sources": "10.0.0.7", "transport": "udp"}),
    ):
        page.goto(f"{site.url}/trunks/add?preset={carrier}")
        for name, value in typed.items():
            field = page.locator(f"#f-{name}")
            field.select_option(value) if name == "transport" else field.fill(value)
        page.click("text=Add this carrier")
    page.goto(site.url + "/trunks/")
    phone_says(site, str(page.locator("#trunks section").first.get_attribute("id")).removeprefix("t-"))
    views(page, "carriers", at(page, site.url + "/trunks/"))
    views(page, "in-transit", at(page, site.url + "/evidence/transport"))
