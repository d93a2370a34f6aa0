"""The answer and the capture: no caller waits for the disk, and no call is without a trace."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.phone.house import CALLER, DIALLED, House

from nightbell.core.capture import EndReason
from nightbell.core.log import Log
from nightbell.phone.engine import Engine
from nightbell.phone.legs import Answer, Invite, RemoteLeg
from nightbell.phone.media import Media
from nightbell.phone.sip_call import NO_OFFER
from nightbell.phone.snapshot import Holder
from nightbell.sip.srtp import PLAIN

INVITE = Invite(
    1,
    DIALLED,
    CALLER,
    NO_OFFER,
    PLAIN,
    "127.0.0.1",
    "udp",
    "127.0.0.1",
    5060,
    False,
    "",
    False,
    "127.0.0.1",
    (),
)


def take_call(house: House, send: Callable[[object], None]) -> None:
    """One call in an engine of its own. send: what it tells its SIP side."""

    async def story() -> None:
        media = Media("127.0.0.1", (34000, 34999), asyncio.get_running_loop().call_soon_threadsafe)
        engine = Engine(house.folder, Holder(house.folder), media, Log("test", io.StringIO()))
        engine.start()
        try:
            engine.take(RemoteLeg(INVITE, send), False)
        finally:
            async with asyncio.timeout(10):
                while not house.files("part" if engine.calls else "cap"):
                    await asyncio.sleep(0.01)
            engine.close()

    asyncio.run(story())


def test_the_answer_goes_out_before_the_capture_is_on_the_disk(tmp_path: Path) -> None:
    house, there = House(tmp_path), list[int]()
    take_call(house, lambda said: there.append(len(house.files())) if isinstance(said, Answer) else None)
    assert there == [0]
    assert len(house.files("part")) == 1


def test_a_call_that_cannot_be_answered_leaves_its_trace(tmp_path: Path) -> None:
    house = House(tmp_path)

    def send(said: object) -> None:
        if isinstance(said, Answer):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        take_call(house, send)
    [capture] = house.wait_for_captures(1)
    assert (capture.meta.caller, capture.end.reason) == (CALLER, EndReason.INTERRUPTED)
