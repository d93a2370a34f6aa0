"""Draws lock screens of a clinician's phone with the exact words of each way. `script/pictures` runs it."""

from __future__ import annotations

import base64
import html
import os
from pathlib import Path

from playwright.sync_api import Browser

from nightbell.core.notice import NoticeKind, Notification
from nightbell.flow.clips import manifest
from nightbell.oncall.notifications import PUSHED, render

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "nightbell" / "web" / "static"
FOLDER = Path(os.environ.get("PICTURES_FOLDER", "."))
WIDTH, HEIGHT = 390, 760
NUMBER = "(503) 555-0199"
WORDS = render(Notification(NoticeKind.URGENT, "QR41", "7GK2M9XDpR4w-Zt81QyVbA"), "https://k7.example.net")

STYLE = """
@font-face { font-family: Atkinson; src: url(data:font/woff2;base64,FONT) format('woff2'); font-weight: 200 800 }
* { box-sizing: border-box; margin: 0 }
:root { --ink: oklch(25% 0.022 180); --soft: oklch(42% 0.02 180); --card: oklch(99.4% 0.003 150 / 0.9);
  --edge: oklch(86% 0.012 160);
  --sky: radial-gradient(120% 60% at 50% 0%, oklch(94% 0.03 150) 0%, oklch(87% 0.035 165) 62%, oklch(80% 0.04 172) 100%) }
@media (prefers-color-scheme: dark) { :root { --ink: oklch(96% 0.01 95); --soft: oklch(84% 0.015 120);
  --card: oklch(30% 0.02 178 / 0.92); --edge: oklch(42% 0.02 178);
  --sky: radial-gradient(120% 60% at 50% 0%, oklch(37% 0.045 172) 0%, oklch(21% 0.022 180) 62%, oklch(16% 0.015 182) 100%) } }
body { width: 390px; height: 760px; font: 15px/1.4 Atkinson, sans-serif; color: var(--ink); background: var(--sky);
  padding: 52px 14px 14px; display: flex; flex-direction: column }
.day { text-align: center; font-size: 15px }
.time { text-align: center; font-size: 84px; line-height: 1; font-weight: 300; letter-spacing: -0.02em; margin-top: 4px }
.note { margin-top: auto; margin-bottom: 96px; display: flex; gap: 12px; overflow-wrap: anywhere; background: var(--card);
  border: 1px solid var(--edge); border-radius: 18px; padding: 12px 14px }
.note > div { flex: 1; min-width: 0 }
.note p + p { margin-top: 3px }
.from { display: flex; justify-content: space-between; gap: 12px; color: var(--soft); font-size: 13px }
.title { font-weight: 600 }
.icon { flex: none; width: 34px; height: 34px; border-radius: 9px; display: grid; place-items: center; color: white }
.icon svg { width: 20px; height: 20px; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
.bar { width: 120px; height: 4px; border-radius: 2px; background: currentColor; opacity: 0.7; margin: 0 auto }
.call { text-align: center; margin-top: 24px }
.call .who { font-size: 34px; font-weight: 500; margin-top: 6px }
.said { margin: 40px 10px 0; font-size: 19px; line-height: 1.5; text-align: center }
.said small { display: block; font-size: 13px; color: var(--soft); margin-bottom: 6px }
.ends { margin-top: auto; margin-bottom: 44px; display: flex; justify-content: space-around }
.ends .icon { width: 72px; height: 72px; border-radius: 36px }
.ends .icon svg { width: 30px; height: 30px }
"""
COLOURS = {
    "bell": "oklch(39.5% 0.068 168)", "smartphone": "oklch(52% 0.13 150)", "inbox": "oklch(48% 0.1 242)",
    "siren": "oklch(46% 0.12 40)", "x": "oklch(50% 0.18 28)", "phone": "oklch(50% 0.12 150)",
}  # fmt: skip


def icon(name: str) -> str:
    """One of the application's own."""
    source = (STATIC / "icons.svg").read_text("utf-8")
    inside = source.split(f'<symbol id="{name}" viewBox="0 0 24 24">')[1].split("</symbol>")[0]
    return f'<span class="icon" style="background:{COLOURS[name]}"><svg viewBox="0 0 24 24">{inside}</svg></span>'


def page(body: str) -> str:
    font = STATIC / "fonts" / "atkinson-hyperlegible-next-latin-wght-normal.woff2"
    style = STYLE.replace("FONT", base64.b64encode(font.read_bytes()).decode())
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><style>{style}</style><body>{body}</body></html>'


def locked(clock: str, name: str, sender: str, title: str, text: str) -> str:
    """A note on a locked phone. Every word comes from what is sent, but for who it is from and when."""
    heading = f'<p class="title">{html.escape(title)}</p>' if title else ""
    return page(
        f'<p class="day">Tuesday, 24 November</p><p class="time">{clock}</p><div class="note">{icon(name)}<div>'
        f'<p class="from"><span>{html.escape(sender)}</span><span>now</span></p>{heading}'
        f'<p>{html.escape(text)}</p></div></div><div class="bar"></div>'
    )


def ringing() -> str:
    """A call, and what is said before the PIN. There is no recording of the practice's name in the package."""
    words, said = manifest().words["en"], []
    for clip in WORDS.voice:
        if not clip.startswith("~"):
            name = clip.partition("/")[2]
            said.append(words["practice-fallback" if name == "practice-name" else name])
    spoken = " ".join([*said, words["alert-human"]])
    return page(
        f'<div class="call"><p>incoming call</p><p class="who">{NUMBER}</p></div>'
        f'<p class="said"><small>who answers hears</small>{html.escape(spoken)}</p>'
        f'<div class="ends">{icon("x")}{icon("phone")}</div><div class="bar"></div>'
    )


def screens() -> dict[str, str]:
    """By name of the picture."""
    mail = " ".join(WORDS.body.split())
    return {
        "lock-push": locked("2:11", "bell", PUSHED["en"][0], "", PUSHED["en"][1]),
        "lock-text": locked("2:12", "smartphone", NUMBER, "", WORDS.short),
        "lock-mail": locked("2:13", "inbox", "nightbell@k7.example.net", WORDS.subject, mail),
        "lock-call": ringing(),
        "lock-other": locked("2:14", "siren", "Pushover", WORDS.subject, mail),
    }


def test_draw_the_lock_screens(chromium: Browser) -> None:
    for dark in (False, True):
        context = chromium.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if dark else "light"
        )
        tab = context.new_page()
        for name, drawn in screens().items():
            tab.set_content(drawn)
            tab.evaluate("document.fonts.ready")
            tab.screenshot(path=FOLDER / f"{name}-{WIDTH}{'-night' if dark else ''}.png")
        context.close()
