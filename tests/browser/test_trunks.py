"""Carriers in a real browser: set one up by keyboard, see what the phone says of it, accept a risk, take it out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect
from tests.browser.conftest import Site
from tests.browser.test_callflow import press_until
from tests.browser.test_look import check, level, look

from nightbell.core.clock import iso, utc_now

IT, COMPLIANCE = "tran", "lindqvist"
PASSWORD = "s3cret-of-the-trunk"


def phone_says(site: Site, trunk: str, **said: Any) -> None:
    """What a worker writes after a phone's health came in."""
    state = {
        "state": "registered",
        "code": 200,
        "since": iso(utc_now()),
        "realm": "",
        "algorithms": [],
        "why": "",
    }
    state |= {"rtt_ms": 23.4, "calls": 2, "refused_plain": 1} | said
    report = {"at": iso(utc_now()), "phones": [{"trunks": {trunk: state}, "age_s": 1.0}], "trunks": []}
    (site.home / "run" / "health.json").write_text(json.dumps(report))


def sure(site: Site, page: Page) -> None:
    """Prove oneself again, when the sign-in was too long ago."""
    if "/account/confirm" in page.url:
        page.fill("#id_password", site.users[IT]["password"])
        page.locator("main form button").first.click()


def test_a_carrier_from_nothing_to_nothing(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(IT)
    page.goto(site.url + "/trunks/")
    expect(page.locator("main")).to_contain_text("No carrier can reach this line yet")
    check(page, "carriers, none")
    page.set_viewport_size({"width": 1280, "height": 900})
    press_until(page, "Tab", "main a.btn-primary")
    page.keyboard.press("Enter")
    expect(page.locator("main h2")).to_have_text("Who holds your number?")
    check(page, "carriers, choose")
    press_until(page, "Tab", "a[href='?preset=telnyx']")
    page.keyboard.press("Enter")
    expect(page.locator("#f-domain")).to_have_value("sip.telnyx.com")
    press_until(page, "Tab", "#f-user")
    page.keyboard.type("acme 1")
    press_until(page, "Tab", "#f-password")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".nb-error")).to_contain_text("characters that no SIP user has")
    expect(page.locator("#f-user")).to_be_focused()
    expect(page.locator("#f-password")).to_have_value("")
    look(page, "carriers, wrong")
    page.fill("#f-user", "acme1")
    page.fill("#f-password", PASSWORD)
    page.keyboard.press("Enter")
    section = page.locator("#trunks section")
    expect(section).to_contain_text("Not known yet")
    trunk = str(section.get_attribute("id")).removeprefix("t-")
    phone_says(site, trunk)
    expect(section.locator(".nb-verdict")).to_contain_text("Registered since")
    expect(section).to_contain_text("23 ms")
    look(page, "carriers, registered")
    phone_says(site, trunk, state="failed", code=403, why="")
    expect(section).to_contain_text("The carrier refuses us. Check that the account is active")
    check(page, "carriers, failed")
    section.get_by_role("button", name="Ask the carrier now").click()
    expect(page.locator("[data-toast]")).to_contain_text("asks the carrier now")
    assert (site.home / "run" / "trunk-asked").read_text() == trunk
    _risk(site, page, section)
    _taken_out(page, section)
    (site.home / "run" / "health.json").unlink()


def _risk(site: Site, page: Page, section: Any) -> None:
    section.get_by_role("link", name="Allow unencrypted calls").click()
    sure(site, page)
    look(page, "carriers, risk")
    page.fill("#f-reason", "because")
    page.click("button:has-text('Accept this risk')")
    expect(page.locator(".nb-error")).to_contain_text("Nobody could judge")
    page.fill("#f-reason", f"{'x' * 900} has no TLS until March; the line between us is a tunnel of its own.")
    last = page.locator("#f-until").input_value()
    page.click("button:has-text('Accept this risk')")
    expect(section).to_contain_text("Unencrypted calls are taken, accepted by")
    page.goto(site.url + "/evidence/transport")
    expect(page.locator("main")).to_contain_text("a tunnel of its own")
    expect(page.locator("main")).to_contain_text(f"until the end of {last}")
    look(page, "evidence, transport")
    _long_words_wrap(site, page, section)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(site.url + "/trunks/")


def _long_words_wrap(site: Site, page: Page, section: Any) -> None:
    """Nothing that somebody typed makes a page wider than the window."""
    page.goto(site.url + "/trunks/")
    section.get_by_role("link", name="Change").click()
    page.fill("#f-name", "W" * 60)
    page.click("button:has-text('Save')")
    trunk = str(section.get_attribute("id")).removeprefix("t-")
    for path in ("", f"?remove={trunk}", trunk, f"{trunk}/risk", "../evidence/transport"):
        page.goto(f"{site.url}/trunks/{path}")
        sure(site, page)
        expect(page.locator("main")).to_be_visible()
        assert "W" * 60 in page.content(), path
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            level(page, f"{path} {width}")


def _taken_out(page: Page, section: Any) -> None:
    section.get_by_role("link", name="Remove").click()
    expect(page.locator("main .btn-error")).to_be_focused()
    check(page, "carriers, remove")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("No carrier can reach this line yet")
    page.locator("[data-toast] button").click()
    expect(section).to_have_count(1)
    section.get_by_role("link", name="Remove").click()
    page.locator("main .btn-error").click()
    expect(page.locator("main")).to_contain_text("No carrier can reach this line yet")


def test_compliance_sees_and_changes_nothing(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(COMPLIANCE)
    page.goto(site.url + "/trunks/")
    assert page.locator("main a.btn, main button").count() == 0
    check(page, "carriers, compliance")
    assert page.goto(site.url + "/trunks/add").status == 403  # type: ignore[union-attr]
