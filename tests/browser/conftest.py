"""A real browser against the real web server over TLS, on a demo home of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests import prepared
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
# Chromium puts itself before everybody else on the machine where it may (as root): the calls beside it would not be on time.
# Without its windows it takes half of the CPU.
CHROMIUM = Path(__file__).with_name("chromium-headless-shell")
WITH_WINDOWS = Path(__file__).with_name("chromium")  # to show notifications
expect.set_options(timeout=30_000)  # a crowded machine is slow, not wrong


@dataclass
class Site:
    """Where the web server is, and the people of demo.json by log-in."""

    url: str
    users: dict[str, dict[str, str]]
    ca: Path
    home: Path
    kept: dict[str, Any] = field(default_factory=dict)  # sessions by log-in: a code works only once

    def code(self, login: str) -> str:
        """The six digits of now (RFC 6238), never in the last seconds of their time."""
        if time.time() % 30 > 22:
            time.sleep(30.2 - time.time() % 30)
        key = base64.b32decode(self.users[login]["totp_secret"])
        digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"

    def api(self, login: str, path: str) -> Any:
        request = urllib.request.Request(
            self.url + "/api/v1/" + path,
            headers={"Authorization": "Bearer " + self.users[login]["api_token"]},
        )
        with urllib.request.urlopen(request, context=create_default_context(cafile=str(self.ca))) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base, port = tmp_path_factory.mktemp("browser"), free_port()
    home, keys = base / "home", base / "keys"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTBELL_", "DJANGO_"))} | {
        "NIGHTBELL_HOME": str(home), "NIGHTBELL_KEYS": str(keys), "NIGHTBELL_URL": f"https://localhost:{port}",
        "NIGHTBELL_HTTPS_PORT": str(port), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }  # fmt: skip
    prepared.lend(home)
    subprocess.run([sys.executable, "-m", "tests.browser.seed"], env=env, cwd=base, check=True, timeout=120)
    arguments = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--http", "1", "--host", "127.0.0.1",
        "--port", str(port), "--ssl-certificate", str(home / "tls" / "server.pem"),
        "--ssl-keyfile", str(keys / "server.key"), "--ssl-protocol-min", "tls1.3", "--workers", "1",
        "--blocking-threads", "4", "--no-ws", "--log-level", "warning", "nightbell.server.wsgi:application",
    ]  # fmt: skip
    server = subprocess.Popen(arguments, env=env, cwd=base)
    demo = json.loads((home / "demo.json").read_text("utf-8"))
    try:
        _wait(port, server)
        yield Site(
            f"https://localhost:{port}", {u["login"]: u for u in demo["users"]}, home / "tls" / "ca.pem", home
        )
    finally:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert server.poll() is None, "the web server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the web server does not answer")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--autoplay-policy=no-user-gesture-required",
        "--mute-audio",
    ]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


EXPECTED = re.compile(r"status of (4\d\d|502)")  # refusals, and damage that a test made


class Trouble(list[str]):
    """What the browser complained about: errors of scripts, refusals of the CSP, requests to other hosts."""


@pytest.fixture
def open_page(site: Site, chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Makes pages in sessions of their own; at the end nothing may have been complained about."""
    trouble, contexts = Trouble(), []

    def make(width: int = 1280, dark: bool = False, session: Any = None) -> Page:
        context = chromium.new_context(
            storage_state=session,
            ignore_https_errors=True,
            viewport={"width": width, "height": 900 if width > 600 else 844},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",  # the lamp's slow glow alone costs a tenth of a core, drawn without a graphics card
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "console",
            lambda m: trouble.append(m.text) if m.type == "error" and not EXPECTED.search(m.text) else None,
        )
        page.on(
            "request",
            lambda r: None if r.url.startswith((site.url, "data:")) else trouble.append("foreign: " + r.url),
        )
        return page

    yield make
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def signed_in(site: Site, open_page: Callable[..., Page]) -> Callable[..., Page]:
    """A page of somebody who came in by password and code."""

    def make(login: str, width: int = 1280, dark: bool = False) -> Page:
        page = open_page(width, dark, site.kept.get(login))
        if login in site.kept:
            page.goto(site.url + "/")
            return page
        page.goto(site.url + "/account/login/?how=password")
        page.fill("#id_login", login)
        page.fill("#id_password", site.users[login]["password"])
        page.click("text=Go on to the code")
        page.fill("#id_code", site.code(login))
        page.click("button:has-text('Sign in')")
        page.wait_for_url(lambda address: "/account/" not in address)
        site.kept[login] = page.context.storage_state()
        return page

    return make
