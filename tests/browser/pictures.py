"""Takes the pictures of the documents. Not collected by itself: `script/pictures` runs it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page
from tests.browser.conftest import Site

WIDE, NARROW = (1280, 900), (390, 844)


def test_take(site: Site, open_page: Callable[..., Page], signed_in: Callable[..., Page]) -> None:
    folder = Path(os.environ["PICTURES_FOLDER"])
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
        for dark in (False, True):
            page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
            for width, height in (WIDE, NARROW):
                page.set_viewport_size({"width": width, "height": height})
                page.goto(address)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=folder / f"{name}-{width}{'-night' if dark else ''}.png")
