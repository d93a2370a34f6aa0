"""A registrar by hand over UDP: it asks for a password, grants, refuses, and goes away, as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.phone.endpoints import Line

from nightbell.core.ids import new_ulid
from nightbell.phone.resolve import Resolver, trunk_targets
from nightbell.phone.trunks import Trunks
from nightbell.sip.message import Request, build_response, parse
from nightbell.sip.trunk import Kind, Trunk

USER, PASSWORD, REALM = "5552014567", "nine lives", "carrier.example"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


HASHES: dict[str, Callable[[str], str]] = {"MD5": md5, "SHA-256": sha256}


def secrets_of(password: str = PASSWORD, realm: str = REALM) -> dict[str, str]:
    return {name: make(f"{USER}:{realm}:{password}") for name, make in HASHES.items()}


class Registrar(asyncio.DatagramProtocol):
    """`answers` false: deaf. `code`: refuses everything with it. `least`: Min-Expires. `grants`: seconds."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.bound: dict[str, int] = {}  # user part of contacts, and for how long
        self.answers, self.code, self.grants, self.least = True, 0, 0, 0
        self.realm, self.algorithms = REALM, ["SHA-256", "MD5"]
        self.nonce, self.stale, self.next_nonce = "n1", False, ""
        self.checks = True
        self.options_code = 200
        self.outbound, self.proxy_asks = True, False
        self.wire: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.wire = transport
        self.port = transport.get_extra_info("sockname")[1]

    def got(self, method: str) -> list[Request]:
        return [request for request in self.seen if request.method == method]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        message = parse(data)
        if not isinstance(message, Request):
            return
        self.seen.append(message)
        if self.answers:
            code, lines = self._judge(message)
            if code:
                self.wire.sendto(build_response(code, message.headers, "r", lines), addr)

    def _judge(self, request: Request) -> tuple[int, tuple[tuple[str, str], ...]]:
        if request.method != "REGISTER":
            return self.options_code, ()
        if self.code:
            return self.code, ()
        if not self.outbound and "outbound" in request.get("supported"):
            return 439, ()
        if self.proxy_asks and 'nonce="p1"' not in request.get("proxy-authorization"):
            asks = f'Digest realm="{self.realm}", nonce="p1", algorithm=MD5, qop="auth"'
            return 407, (("Proxy-Authenticate", asks),)
        if self.checks and not self._proven(request):
            offer = [
                ("WWW-Authenticate", f'Digest realm="{self.realm}", nonce="{self.nonce}", algorithm={name}, qop="auth"'
                 + (", stale=true" if self.stale else ""))
                for name in self.algorithms
            ]  # fmt: skip
            return 401, tuple(offer)
        expires = int(request.get("expires"))
        if 0 < expires < self.least:
            return 423, (("Min-Expires", str(self.least)),)
        user = request.listed("contact")[0].partition("@")[0].removeprefix("<sip:")
        self.bound[user] = granted = min(expires, self.grants or expires)
        info = (("Authentication-Info", f'nextnonce="{self.next_nonce}"'),) if self.next_nonce else ()
        self.nonce = self.next_nonce or self.nonce
        if not expires:
            return 200, ()
        return 200, (("Contact", f"{request.listed('contact')[0]};expires={granted}"), *info)

    def _proven(self, request: Request) -> bool:
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', request.get("authorization")))
        if said.get("nonce") != self.nonce:
            return False
        make = HASHES[said["algorithm"]]
        ha1 = make(f"{USER}:{self.realm}:{PASSWORD}")
        ha2 = make(f"REGISTER:{said['uri']}")
        return said["response"] == make(f"{ha1}:{self.nonce}:{said['nc']}:{said['cnonce']}:auth:{ha2}")


def trunk(port: int, **changes: Any) -> Trunk:
    fields: dict[str, Any] = {
        "id": new_ulid(), "name": "Carrier", "kind": Kind.REGISTER, "domain": REALM, "proxy": f"127.0.0.1:{port}",
        "transport": "udp", "plain": True, "user": USER, "realm": REALM, "ha1": secrets_of(), "expires": 600,
        "keep_alive": 30,
    }  # fmt: skip
    return Trunk(**(fields | changes))


@contextlib.asynccontextmanager
async def registrar(port: int = 0) -> AsyncIterator[Registrar]:
    wire, it = await asyncio.get_running_loop().create_datagram_endpoint(
        Registrar, local_addr=("127.0.0.1", port)
    )
    try:
        yield it
    finally:
        wire.close()


@contextlib.asynccontextmanager
async def trunks_of(it: Line, *given: Trunk) -> AsyncIterator[Trunks]:
    resolver = Resolver()
    endpoint = it.endpoint
    at_work = Trunks(
        endpoint.layer,
        lambda trunk: trunk_targets(resolver, trunk),
        endpoint.layer.log,
        endpoint.taken,
        endpoint.refused_plain,
    )
    endpoint.layer.transport.on_lost, endpoint.heard = at_work.lost, at_work.heard
    at_work.follow(given)
    try:
        yield at_work
    finally:
        await at_work.close()
