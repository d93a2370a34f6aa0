"""A small real DNS server on loopback, with the zone that a test gives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Server(asyncio.DatagramProtocol):
    """zone: lines as in a zone file, names in full. mute: does not answer; asked: the questions so far."""

    def __init__(self, zone: str) -> None:
        self.mute = False
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self._sets: dict[tuple[str, str], dns.rrset.RRset] = {}
        self._wire: asyncio.DatagramTransport | None = None
        self.load(zone)

    def load(self, zone: str) -> None:
        found: dict[tuple[str, str, int], list[str]] = {}
        for line in filter(str.strip, zone.splitlines()):
            name, ttl, kind, *data = line.split()
            found.setdefault((name, kind, int(ttl)), []).append(" ".join(data))
        self._sets = {
            (name, kind): dns.rrset.from_text_list(name, ttl, "IN", kind, data)
            for (name, kind, ttl), data in found.items()
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport  # type: ignore[assignment]
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.mute or self._wire is None:
            return
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if (name, kind) in self._sets:
            reply.answer.append(self._sets[name, kind])
        elif not any(known == name for known, _ in self._sets):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        self._wire.sendto(reply.to_wire(), addr)


@contextlib.asynccontextmanager
async def name_server(zone: str) -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    wire, server = await loop.create_datagram_endpoint(lambda: Server(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        wire.close()
