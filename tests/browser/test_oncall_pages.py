"""On call in a real browser: a gap and its name, a rotation by keyboard, the swap as a dialog, a policy, one's own ways."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import WITH_WINDOWS, Site
from tests.browser.test_callflow import press_until
from tests.browser.test_look import UNDER_A_THUMB, check, level

from nightbell.core.clock import utc_now
from nightbell.oncall.notifications import PUSHED

MANAGER, CLINICIAN = "okafor", "patel"


WIDE, NARROW = (1280, False), (390, True)


def both(page: Page, what: str, views: tuple[tuple[int, bool], ...] = (WIDE, NARROW)) -> None:
    """Wide by day and narrow by night, and nothing sideways on the smallest phone."""
    for width, dark in views:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        check(page, f"{what} {width}")
        if width < 600:
            assert page.evaluate(UNDER_A_THUMB) == [], what
    page.set_viewport_size({"width": 320, "height": 800})
    level(page, what + " 320")
    page.set_viewport_size({"width": 1280, "height": 900})


def leave_out(site: Site, page: Page, day: str) -> None:
    """Takes all weekly shifts of a day away, under the name of who does it, once it was typed wrong."""
    page.goto(site.url + "/oncall/plan")
    rows = page.locator(f"li:has(form[action*='/shift/']):has-text('{day}')")
    while (left := rows.count()) > 0:
        rows.first.get_by_role("button", name="Remove").click()
        if page.locator("[name=confirm]").count():
            expect(page.locator("[name=confirm]")).to_be_focused()
            both(page, "confirm a gap", (NARROW,))
            page.fill("[name=confirm]", "okafor")
            page.keyboard.press("Enter")
            expect(page.locator("main")).to_contain_text("That is not your name")
            page.fill("[name=confirm]", str(page.locator(".nb-rail p.font-medium").last.text_content()))
            page.keyboard.press("Enter")
        expect(page.locator("[data-toast]")).to_be_visible()
        assert rows.count() < left


def test_a_gap_needs_a_name_and_is_filled_from_the_calendar(
    site: Site, signed_in: Callable[..., Page]
) -> None:
    page = signed_in(MANAGER)
    leave_out(site, page, f"{utc_now() + timedelta(days=4):%a}")
    page.goto(site.url + "/oncall/")
    expect(page.locator(".nb-alert").first).to_contain_text("Nobody is on call")
    expect(page.locator(".nb-gap").first).to_be_visible()
    both(page, "a gap")
    page.get_by_role("link", name="Fill the gap").first.click()
    expect(page.locator("#o-user")).to_be_focused()
    assert page.input_value("#change [name=from_time]") == "00:00"
    page.select_option("#o-user", index=1)
    page.click("text=Put on call")
    expect(page.locator("[data-toast]")).to_contain_text("Put on call")
    page.locator("[data-toast] button").click()
    expect(page.locator("[name=confirm]")).to_be_visible()  # undone, it would be a gap again


def test_a_rotation_by_keyboard(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/oncall/plan")
    press_until(page, "Tab", "header a.btn-primary")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rotation/new*")
    members = page.locator("[name=member]")
    members.nth(0).select_option(index=1)
    members.nth(1).select_option(index=2)
    first = members.nth(0).input_value()
    press_until(page, "Tab", "[data-row]:first-child [data-down]")
    page.keyboard.press("Enter")
    assert members.nth(1).input_value() == first
    press_until(page, "Tab", "[data-add]")
    page.keyboard.press("Enter")
    expect(members).to_have_count(3)
    expect(members.nth(2)).to_be_focused()
    both(page, "a rotation", (WIDE,))
    page.locator("[data-add]").nth(1).click()
    page.locator("[name^=days-][value='0']").check()
    page.locator("[data-remove]").last.click()
    page.fill("#r-handover", "noon")
    page.click("text=Add this rotation")
    expect(page.get_by_role("alert")).to_contain_text("the time of the handover cannot be read")
    page.fill("#r-handover", "8 am")
    page.click("text=Add this rotation")
    expect(page.locator("main")).to_contain_text("Turns change every week at 08:00")
    both(page, "the plan")


def test_the_swap_is_a_dialog(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("rivera")
    page.goto(site.url + "/oncall/")
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("link", name="Swap", exact=True).click()
    dialog = page.locator("dialog#swap")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("What happens")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        check(page, f"swap {width}")
    dialog.locator("[name=first]").last.check()
    short = dialog.locator("[name=first]").last.get_attribute("data-short")
    expect(dialog.locator("button.btn-primary")).to_contain_text(f"Ask {short}")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    page.goto(site.url + "/oncall/swap")
    both(page, "swap as a page", (NARROW,))


def test_a_policy_says_what_happens(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/oncall/policies")
    both(page, "who is told", (NARROW,))
    page.goto(site.url + "/oncall/policy/new")
    page.fill("#p-name", "Nights")
    page.click("[data-add]")
    rows = page.locator("[data-row]")
    rows.last.locator("select").select_option("all")
    rows.last.locator("[data-up]").click()
    page.click("text=Show what happens")
    expect(page.locator("section[role=status]")).to_contain_text("Everybody who takes messages")
    both(page, "a policy")
    page.click("text=Add this policy")
    expect(page.locator("main")).to_contain_text("everybody who takes messages")


def test_tests_and_drills(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(MANAGER)
    page.goto(site.url + "/oncall/tests")
    expect(page.locator("main")).to_contain_text("Each evening at 17:30")
    both(page, "tests and drills", (NARROW,))


def test_my_ways(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in(CLINICIAN)
    page.goto(site.url + "/account/ways/")
    page.check("[name=kind][value=sms]")
    page.fill("#a-address", "12")
    page.click("text=Add and send a code")
    expect(page.get_by_role("alert")).to_contain_text("that is no telephone number")
    page.fill("#a-address", "+1 617 555 0199")
    page.click("text=Add and send a code")
    expect(page.locator("[name=code]")).to_be_visible()
    both(page, "my ways")
    page.get_by_role("button", name="Take away Text message").click()
    expect(page.locator("main")).not_to_contain_text("555-0199")


SHOWN = """navigator.serviceWorker.ready.then(there => there.getNotifications())
    .then(shown => shown.map(one => [one.title, one.body]))"""


def test_an_empty_push_shows_the_same_words_always(site: Site, chromium: Browser) -> None:
    """The service worker, in a browser that trusts this server, woken as a push service wakes it: with nothing."""
    trusting = chromium.browser_type.launch(
        executable_path=WITH_WINDOWS, args=["--no-sandbox", "--ignore-certificate-errors"]
    )
    try:
        context = trusting.new_context(ignore_https_errors=True)
        context.grant_permissions(["notifications"], origin=site.url)
        page = context.new_page()
        page.goto(site.url + "/account/login/")
        page.evaluate("navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready)")
        wire = context.new_cdp_session(page)
        found: list[str] = []
        wire.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda told: found.extend(one["registrationId"] for one in told["registrations"]),
        )
        wire.send("ServiceWorker.enable")
        while not found:
            page.wait_for_timeout(20)
        push = {"origin": site.url, "registrationId": found[0], "data": ""}
        wire.send("ServiceWorker.deliverPushMessage", push)
        page.wait_for_function(f"() => {SHOWN}.then(shown => shown.length === 1)")
        assert page.evaluate(SHOWN) == [list(PUSHED["en"])]
    finally:
        trusting.close()


def test_a_clinician_of_another_practice_covers(site: Site, signed_in: Callable[..., Page]) -> None:
    """Asked by keyboard, accepted on a phone, put on call, gone there and back, and ended."""
    boss, doctor = signed_in(MANAGER), signed_in("kim")
    boss.goto(site.url + "/oncall/plan")
    press_until(boss, "Tab", "#c-who")
    boss.keyboard.type("grace kim")
    boss.keyboard.press("Enter")
    expect(boss.locator(".nb-alert")).to_contain_text("no clinician of another practice")
    assert boss.input_value("#c-who") == "grace kim"
    boss.fill("#c-who", "dr. grace kim")
    boss.keyboard.press("Enter")
    expect(boss.locator("#cover")).to_contain_text("asked")
    both(boss, "asked to cover", (NARROW,))
    doctor.goto(site.url + "/")
    doctor.get_by_role("link", name="Look").click()
    both(doctor, "who asks", (NARROW,))
    doctor.get_by_role("button", name="Accept").click()
    expect(doctor.locator("[data-toast]")).to_contain_text("Accepted")
    both(doctor, "where one covers", (WIDE,))
    doctor.get_by_role("button", name="Go there").click()
    expect(doctor.locator(".nb-covering")).to_contain_text("Maple Street Family Medicine")
    expect(doctor.locator("main")).not_to_contain_text("(503) 555")
    both(doctor, "at the practice that is covered")
    doctor.locator(".nb-covering button").click()
    expect(doctor.locator(".nb-covering")).to_have_count(0)
    boss.goto(site.url + "/oncall/plan")
    expect(boss.locator("#cover")).to_contain_text("Has a proved way to be told")
    boss.locator("#cover form[action*='/end'] button").click()
    expect(boss.locator("[data-toast]")).to_contain_text("Ended")
