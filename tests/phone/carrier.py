"""A carrier's server by hand over UDP, for calls that we place: it asks who we are, takes a call or does not."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from tests.phone.endpoints import offer, until
from tests.phone.registrar import HASHES, PASSWORD, REALM, USER

from nightbell.sip.message import Request, build_response, parse


class Carrier(asyncio.DatagramProtocol):
    """code: of its final answer, 0 for none; asks: 401 or 407 before that."""

    def __init__(self, code: int, asks: int) -> None:
        self.code, self.asks = code, asks
        self.seen: list[Request] = []
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
        if message.method == "ACK" or not self.code:
            return
        code, lines, body = 200, (), b""
        if message.method == "INVITE":
            code = self.code
            if self.asks and not self.proven(message):
                code = self.asks
                name = "WWW-Authenticate" if code == 401 else "Proxy-Authenticate"
                lines = ((name, f'Digest realm="{REALM}", nonce="n9", algorithm=SHA-256, qop="auth"'),)
            elif code == 200:
                lines = (("Contact", f"<sip:x@127.0.0.1:{self.port}>"),)
                body = offer().encode()
        self.wire.sendto(build_response(code, message.headers, "c", lines, body), addr)

    def proven(self, request: Request) -> bool:
        line = request.get("authorization" if self.asks == 401 else "proxy-authorization")
        said = dict(re.findall(r'(\w+)="?([^",]*)"?', line))
        make = HASHES["SHA-256"]
        if said.get("nonce") != "n9":
            return False
        secret, what = make(f"{USER}:{REALM}:{PASSWORD}"), make(f"INVITE:{said['uri']}")
        return said["response"] == make(f"{secret}:n9:{said['nc']}:{said['cnonce']}:auth:{what}")

    async def confirmed(self) -> bool:
        """Our 200 was acknowledged."""
        await until(lambda: self.got("ACK"))
        return True


@contextlib.asynccontextmanager
async def carrier(code: int, asks: int = 0) -> AsyncIterator[Carrier]:
    wire, it = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Carrier(code, asks), local_addr=("127.0.0.1", 0)
    )
    try:
        yield it
    finally:
        wire.close()
