"""Every page, wide and narrow, by day and by night: no barrier (axe), no sideways scrolling, no complaint."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from tests.browser.conftest import Site

AXE = Axe().axe_script
FAULTS = "only => axe.run({resultTypes: ['violations'], ...only}).then(found => found.violations)"
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # all that day and night change
# What is pressed, but links within a sentence and words of a transcript; a box counts with its label.
UNDER_A_THUMB = """() => [...document.querySelectorAll('a, button, summary, input, select, textarea')].filter(one => {
    const own = one.getBoundingClientRect()
    if (!own.width || !one.checkVisibility({ visibilityProperty: true })) return false
    if (one.closest('.nb-skip, .sr-only, .nb-words, .modal-backdrop')) return false
    if (one.tagName === 'A' && getComputedStyle(one).display === 'inline') return false
    const label = /checkbox|radio/.test(one.type) && one.labels[0]
    const { width, height } = label ? label.getBoundingClientRect() : own
    return width < 43.5 || height < 43.5
}).map(one => (one.textContent.trim() || one.ariaLabel || one.name).slice(0, 40))"""
WIDE, NARROW = (1280, False), (390, True)  # light and dark, of every page
OTHERS = [
    (1280, True),
    (390, False),
]  # what stands around all pages at that width: looked at once for each role


def check(page: Page, what: str, colours: bool = False) -> None:
    if not page.evaluate("'axe' in window"):  # half a megabyte to read, once a page and not once a view
        page.evaluate(AXE)
    found = page.evaluate(FAULTS, COLOURS if colours else {})
    assert [(v["id"], [n["target"] for n in v["nodes"]]) for v in found] == [], what
    level(page, what)


def level(page: Page, what: str) -> None:
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"{what} scrolls sideways by {over} px"


def look(page: Page, what: str, around: bool = False) -> None:
    """around: the frame too, in the colours that the two views of each page do not show."""
    for width, dark in (WIDE, NARROW, *(OTHERS if around else ())):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        check(page, f"{what} {width} {'night' if dark else 'day'}", colours=(width, dark) in OTHERS)
    page.set_viewport_size({"width": 320, "height": 800})
    level(page, what + " 320")


@pytest.mark.parametrize("path", ["/account/login/", "/account/login/?how=password", "/account/lost-phone/"])
def test_doors(site: Site, open_page: Callable[..., Page], path: str) -> None:
    page = open_page()
    page.goto(site.url + path)
    look(page, path, around=True)


def test_pages_of_a_clinician(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("rivera")
    look(page, "inbox", around=True)
    for path in (
        "/?view=done",
        "/?view=mine",
        "/more/",
        "/oncall/",
        "/account/",
        "/account/sessions/",
        "/nowhere",
        "/audit/",
    ):
        page.goto(site.url + path)
        look(page, path)


def test_message_pages_in_every_state(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("patel")
    addresses = page.eval_on_selector_all("a.go, h3 a", "found => found.map(a => a.href)")
    page.goto(site.url + "/?view=done")
    addresses += page.eval_on_selector_all("a.go", "found => found.map(a => a.href)")
    assert len(addresses) >= 8
    for address in addresses:
        page.goto(address)
        look(page, address)


def test_a_long_word_in_a_note_widens_no_page(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("rivera")
    page.click(".nb-row:has-text('(847) 555-0166') a.go")
    page.fill("textarea[name=text]", "See https://ehr.example/" + "a" * 300)
    page.click("text=Add note")
    page.locator("#notes", has_text="ehr.example").wait_for()
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        level(page, f"a note of one long word {width}")


def test_a_phone_says_once_who_is_told(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("rivera")
    for address in page.eval_on_selector_all("a.go, h3 a", "found => found.map(a => a.href)"):
        page.goto(address)
        if page.locator(".nb-rung.done").count():
            break
    told, ladder = page.locator(".nb-audit li:has-text('Told ')"), page.locator(".nb-ladder")
    assert told.count() > 0
    for width, seen in ((1280, True), (390, False)):
        page.set_viewport_size({"width": width, "height": 900})
        assert told.first.is_visible() is seen and ladder.is_visible(), width


def test_recovery_codes_as_they_are_shown_once(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("tran")
    page.goto(site.url + "/account/recovery/new/")
    look(page, "make recovery codes")
    page.click("main form button")
    assert page.locator(".nb-codes li").count() == 10
    look(page, "recovery codes")
    page.emulate_media(media="print")
    assert page.locator(".nb-codes").is_visible()
    for left_out in ("[data-print]", ".nb-rail", ".nb-tabbar", ".nb-demo"):
        assert not page.locator(left_out).is_visible(), left_out
    page.emulate_media(media="screen")
    page.goto(site.url + "/account/recovery/")
    look(page, "recovery codes, seen already")


def test_pages_of_the_others(site: Site, signed_in: Callable[..., Page]) -> None:
    for login, paths in {
        "okafor": (
            "/audit/",
            "/oncall/",
            "/?view=unrouted",
            "/numbers/",
            "/numbers/what-if?wait=60",
            "/records/",
        ),
        "novak": ("/",),
        "lindqvist": ("/audit/",),
        "tran": ("/status/",),
    }.items():
        page = signed_in(login)
        for path in paths:
            page.goto(site.url + path)
            look(page, f"{login} {path}", around=path == paths[0])


def test_figures_stand_apart_from_their_words(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("okafor")
    page.goto(site.url + "/numbers/")
    page.set_viewport_size({"width": 1280, "height": 900})
    apart = page.evaluate(
        """() => [...document.querySelectorAll('dd .text-3xl')].map(one =>
        one.nextElementSibling.getBoundingClientRect().left - one.getBoundingClientRect().right)"""
    )
    assert len(apart) == 3 and min(apart) >= 11, apart


def test_no_sheet_of_my_ways_ends_in_an_empty_strip(site: Site, signed_in: Callable[..., Page]) -> None:
    """From the last words, or the last button, to the edge of their sheet."""
    page = signed_in("kim", 390)
    page.goto(site.url + "/account/ways/")
    page.wait_for_selector("[data-push] button:visible")
    strips = page.evaluate(
        """() => {
        const range = document.createRange(), bottom = one => one.getBoundingClientRect().bottom
        const ends = one => (range.selectNodeContents(one), bottom(range))
        return [...document.querySelectorAll('ol.nb-hair > li:last-child summary, [data-push] button')].map(one =>
            bottom(one.closest('.nb-sheet')) - (one.tagName === 'SUMMARY' ? ends(one.firstChild) : bottom(one)))
    }"""
    )
    assert len(strips) == 2 and max(strips) <= 22, strips


def test_the_list_of_keys_is_a_dialog(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("kim")
    page.keyboard.press("?")
    page.wait_for_selector("dialog#keys[open]")
    check(page, "keys")


def test_the_audit_log_fits_a_phone(site: Site, signed_in: Callable[..., Page]) -> None:
    """Rows are cards below 640 px: nothing of a row lies outside of the sheet, nothing scrolls inside it."""
    page = signed_in("okafor")
    page.goto(site.url + "/audit/")
    for width in (320, 390, 639):
        page.set_viewport_size({"width": width, "height": 900})
        over = page.evaluate(
            "() => { const s = document.querySelector('.nb-scroll'); return s.scrollWidth - s.clientWidth }"
        )
        assert over <= 0, f"{width}: the rows scroll sideways by {over} px"
        cut = page.evaluate(
            "() => [...document.querySelectorAll('.nb-events td')].filter(c => c.scrollWidth > c.clientWidth + 1).length"
        )
        assert cut == 0
    assert page.get_by_role("row").count() > 5 and page.get_by_role("columnheader").count() == 7
