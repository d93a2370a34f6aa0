"""A desk with everything real but the worker, which is the test; and telephones of our own that it rings."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.phone.endpoints import QUICK, UNHURRIED, Line, line, until
from tests.phone.house import House
from tests.sound import Samples

from nightbell.core.capture import Codec
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.phone import encode
from nightbell.phone.caller import Sound
from nightbell.phone.desk import Desk
from nightbell.phone.endpoint import Endpoint, IncomingCall
from nightbell.phone.media import Media
from nightbell.phone.outbound import Dialler
from nightbell.phone.recorder import Recorder
from nightbell.phone.resolve import Resolver, trunk_targets
from nightbell.phone.snapshot import Holder
from nightbell.phone.trunks import Trunks
from nightbell.sip.rtp import unpack

OFFICE = "+15552014567"


class Telephone(Sound):
    """Keeps what it hears, in the order of its timestamps."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[int, bytes] = {}
        self.sources: set[int] = set()
        self.kinds: set[int] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        before = self.received
        super().datagram_received(data, addr)
        if self.received > before and not self._security.secured:
            packet = unpack(data)
            self.heard[packet.timestamp] = packet.payload
            self.sources.add(packet.ssrc)
            self.kinds.add(packet.payload_type)

    @property
    def samples(self) -> Samples:
        """What was heard, as far as it came."""
        ear, found = encode.Ear(self.codec), []
        for timestamp in sorted(self.heard):
            found += [np.array(one, dtype=np.float64) for one in ear.feed(self.heard[timestamp])]
        return np.concatenate(found) if found else np.zeros(1)


class Person:
    """Somebody whom the desk rings: answers with one codec, speaks, presses, listens."""

    def __init__(self, codec: Codec = Codec.PCMU, act: Callable[[IncomingCall], None] | None = None) -> None:
        """act: what happens when it rings, instead of an answer at once."""
        self.codec, self.act = codec, act
        self.sound = Telephone()
        self.call: IncomingCall | None = None
        self.ended = asyncio.Event()
        self.line: Line

    @property
    def uri(self) -> str:
        return self.line.uri

    def answer(self, call: IncomingCall) -> None:
        call.on_end = lambda reason: self.ended.set()
        call.on_confirmed = lambda: self.sound.begin(call.remote, self.codec, call.security)
        call.answer(self.local, self.codec)

    def rung(self, call: IncomingCall) -> None:
        self.call = call
        (self.act or self.answer)(call)


@contextlib.asynccontextmanager
async def person(
    codec: Codec = Codec.PCMU, act: Callable[[IncomingCall], None] | None = None
) -> AsyncIterator[Person]:
    it = Person(codec, act)
    wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: it.sound, local_addr=("127.0.0.1", 0)
    )
    it.local = wire.get_extra_info("sockname")[:2]
    async with line(it.rung) as it.line:
        sending = asyncio.create_task(it.sound.run())
        try:
            yield it
        finally:
            sending.cancel()
            wire.close()


class Stand:
    """The desk, and what it tells."""

    def __init__(self, desk: Desk, endpoint: Endpoint, trunks: Trunks, log: io.StringIO) -> None:
        self.desk, self.endpoint, self.trunks, self.log = desk, endpoint, trunks, log
        self.events: list[dict[str, Any]] = []
        self.connected = True

    def tell(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    async def hear(self, event: str, seconds: float = 5.0, **fields: Any) -> dict[str, Any]:
        """The first such event, which is taken out."""

        def fits(one: dict[str, Any]) -> bool:
            return one["event"] == event and fields.items() <= one.items()

        try:
            await until(lambda: any(fits(one) for one in self.events), seconds)
        except TimeoutError:
            raise AssertionError(
                f"no {event} {fields}: {self.events} {self.log.getvalue()[-1500:]}"
            ) from None
        at = next(at for at, one in enumerate(self.events) if fits(one))
        return self.events.pop(at)

    def place(self, to: str, **more: Any) -> str:
        """Order a call; its id."""
        data = {
            "call": new_ulid(),
            "to": to,
            "caller": OFFICE,
            "practice": "",
            "ring_s": 5,
            "max_s": 60,
        } | more
        self.desk.order("place_call", data)
        return str(data["call"])

    async def up(self, who: Person, **more: Any) -> str:
        call = self.place(who.uri, **more)
        await self.hear("leg", call=call, state="answered")
        await until(lambda: who.sound.target is not None)
        return call


@contextlib.asynccontextmanager
async def stand(
    root: Path, house: House | None = None, recorder: bool = False, **limits: Any
) -> AsyncIterator[Stand]:
    house = house or House(root)
    holder = Holder(house.folder)
    holder.current = replace(holder.current, limits=replace(holder.current.limits, **limits))
    text = io.StringIO()
    log = Log("phone", text)
    it: Stand

    def rung(call: IncomingCall) -> None:
        it.desk.take(call)

    endpoint = Endpoint("127.0.0.1", 0, rung, log, UNHURRIED, QUICK)
    resolver = Resolver()
    trunks = Trunks(endpoint.layer, lambda trunk: trunk_targets(resolver, trunk), log, {}, {})
    media = Media("127.0.0.1", (20000, 29999), asyncio.get_running_loop().call_soon_threadsafe)
    dialler = Dialler(endpoint, trunks, resolver, lambda: holder.current.limits.local)
    desk = Desk(
        endpoint, media, holder, dialler, house.folder / "clips", lambda event, **fields: it.tell(event, **fields),
        lambda: it.connected, log, Recorder(house.spool, log) if recorder else None,
    )  # fmt: skip
    it = Stand(desk, endpoint, trunks, text)
    await endpoint.start()
    desk.start()
    try:
        yield it
    finally:
        desk.close()
        await trunks.close()
        await endpoint.close()
