"""A night's work in a real browser: come in, see, hear, take, call back, close."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.browser.conftest import Site


def until(page: Page, true: str) -> None:
    """Wait until a JavaScript expression holds. (Playwright's own waiting needs eval, which the CSP forbids.)"""
    for _ in range(100):
        if page.evaluate(f"() => {true}"):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {true}")


def rows(site: Site, login: str, message: str) -> list[str]:
    items = site.api("lindqvist", f"audit?user={login}&message={message}")["items"]
    return [item["action"] for item in reversed(items)]


def test_it_plays_lights_up_words_and_counts_what_was_heard(
    site: Site, signed_in: Callable[..., Page]
) -> None:
    page = signed_in("patel")
    page.click(".nb-row:has-text('(212) 555-7718') a.go")
    message = page.url.rstrip("/").rsplit("/", 1)[1]
    assert rows(site, "patel", message)[-1] == "message:view", "opening the page is not playing"
    page.click("[data-play]")
    expect(page.locator(".nb-words .at")).to_have_count(1, timeout=10_000)
    until(page, "document.querySelector('audio').currentTime > 1.2")
    assert page.locator(".nb-wave .played").count() > 3
    page.click("[data-play]")
    stopped = page.evaluate("document.querySelector('audio').currentTime")
    page.wait_for_timeout(300)
    assert page.evaluate("document.querySelector('audio').currentTime") == stopped
    expect(page.locator("#heard-now")).to_be_visible()
    page.goto(site.url + "/")
    page.wait_for_timeout(500)
    assert rows(site, "patel", message)[-2:] == ["message:play", "message:play_ended"]
    page.goto(f"{site.url}/m/{message}/")
    expect(page.locator(".nb-audit")).to_contain_text("Heard by Dr. Anika Patel, 0:01 of 0:")


def test_a_word_the_flag_and_the_wave_play_from_their_place(
    site: Site, signed_in: Callable[..., Page]
) -> None:
    page = signed_in("rivera")
    page.click(".nb-row:has-text('(212) 555-7718') a.go")
    now = "document.querySelector('audio').currentTime"
    for place, least in ((".nb-words [data-at] >> nth=12", 2.0), ("[data-hear] >> nth=0", 3.0)):
        page.click(place)
        until(page, f"!document.querySelector('audio').paused && {now} > {least}")
    box = page.locator(".nb-wave").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 20)
    until(page, f"{now} > 10")
    page.keyboard.press("ArrowLeft")
    until(page, f"{now} < 12")
    page.click("[data-speed]")
    assert page.evaluate("document.querySelector('audio').playbackRate") == 1.25


def test_the_keyboard_moves_takes_and_undoes(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("ruiz")
    for _ in range(20):
        page.keyboard.press("j")
        if "(312) 555-9006" in page.locator(".is-at").inner_text():
            break
    page.keyboard.press("t")
    page.wait_for_url("**/m/*/**")
    expect(page.locator("[data-toast]")).to_contain_text("You have this.")
    assert "did=" not in page.url, "a reload must not tell it again"
    page.click("button:has-text('Undo')")
    expect(page.locator("h2", has_text="No owner")).to_be_visible()


def test_an_open_inbox_offers_news_without_moving_its_rows(
    site: Site, signed_in: Callable[..., Page]
) -> None:
    watcher, worker = signed_in("okafor"), signed_in("ruiz")
    before = watcher.locator(".nb-list").first.inner_text()
    worker.click(".nb-row:has-text('(512) 555-6681') a.go")
    worker.click("form[data-take] button")
    expect(watcher.locator("#news a")).to_be_visible(timeout=12_000)
    assert watcher.locator(".nb-list").first.inner_text() == before
    watcher.click("#news a")
    expect(watcher.locator(".nb-row:has-text('(512) 555-6681')")).to_contain_text("Ana Ruiz since")


def test_a_thumb_takes_calls_and_closes(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("patel", 390, True)
    page.click("[data-alert] h3 a:has-text('(617) 555-0193')")
    dock = page.locator(".nb-dock")
    expect(dock).to_be_in_viewport()
    assert dock.locator("button.nb-big").bounding_box()["height"] >= 60  # type: ignore[index]
    dock.locator("text=I have this").click()
    expect(page.locator(".nb-dock a.nb-big")).to_have_attribute("href", "tel:+16175550193")
    page.locator(".nb-dock").locator("text=Outcome").click()
    page.click("button[value=emergency]")
    expect(page.locator("#outcome")).to_contain_text("Sent to emergency")
    page.click("text=Reopen")
    expect(page.locator("#outcome")).to_contain_text("You have this since")


def test_a_note_is_kept(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("rivera")
    page.click(".nb-row:has-text('(847) 555-0166') a.go")
    page.fill("textarea[name=text]", "Insurer rang back.")
    page.click("text=Add note")
    expect(page.locator("#notes")).to_contain_text("Insurer rang back.")


def test_a_passkey_is_made_and_opens_the_door(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("moreau")
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(site.url + "/account/passkeys/add/")
    page.check("input[name=passwordless]")
    page.click("#mfa_webauthn_add")
    page.wait_for_url(lambda address: "/passkeys/add/" not in address)
    page.goto(site.url + "/account/passkeys/")
    expect(page.locator("main")).to_contain_text("passkey")
    page.goto(site.url + "/more/")
    page.click("main button:has-text('Sign out')")
    page.goto(site.url + "/account/login/")
    page.click("#passkey_login")
    page.wait_for_url(site.url + "/")
    expect(page.locator("h1")).to_have_text("All mailboxes")


def test_a_cancelled_passkey_is_explained(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")  # no authenticator at all
    page.goto(site.url + "/account/login/")
    refuse = "async () => { throw new DOMException('no', 'NotAllowedError') }"
    page.evaluate("() => { navigator.credentials.get = " + refuse + " }")
    page.click("#passkey_login")
    expect(page.locator("[data-passkey-trouble]")).to_contain_text("use password and code")


def test_it_works_without_javascript(site: Site, chromium: object, signed_in: Callable[..., Page]) -> None:
    page = signed_in("patel")
    state = page.context.storage_state()
    plain = page.context.browser.new_context(
        ignore_https_errors=True, java_script_enabled=False, storage_state=state
    )  # type: ignore[union-attr]
    bare = plain.new_page()
    bare.goto(site.url + "/")
    bare.click(".nb-row:has-text('(847) 555-0166') a.go")
    expect(bare.locator("noscript a, main a:has-text('Open the recording')").first).to_have_count(1)
    expect(bare.locator("#notes")).to_contain_text("Asked the insurer")
    plain.close()


def test_a_damaged_recording_says_what_to_do(site: Site, signed_in: Callable[..., Page]) -> None:
    page = signed_in("patel")
    page.goto(site.url + "/?view=done")
    page.click(".nb-row:has-text('(206) 555-3911') a.go")
    message = page.url.rstrip("/").rsplit("/", 1)[1]
    (blob,) = site.home.glob(f"**/{message[-2:]}/{message}")
    whole = blob.read_bytes()
    try:
        blob.write_bytes(whole[:-9000] + bytes([whole[-9000] ^ 1]) + whole[-8999:])
        page.click("[data-play]")
        expect(page.locator("[data-trouble]")).to_contain_text("damaged or missing", timeout=20_000)
        expect(page.locator("[data-trouble]")).to_contain_text("Call the patient back at (206) 555-3911")
    finally:
        blob.write_bytes(whole)


def test_the_demo_banner_is_one_line_and_whole(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(site.url + "/account/login/")
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        tall, over = page.evaluate(
            "() => { const b = document.querySelector('.nb-demo'); return [b.offsetHeight, b.scrollWidth - b.clientWidth] }"
        )
        assert tall <= 28 and over <= 0
        assert "Never give this number to a patient" in page.locator(".nb-demo").inner_text()
