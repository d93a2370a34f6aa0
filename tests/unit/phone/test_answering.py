"""The answer and the capture: no caller waits for the disk, and no call is without a trace."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import replace
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


def take_calls(house: House, send: Callable[[object], None], calls: int = 1) -> None:
    """Calls in an engine of their own. send: what it tells their SIP side."""

    async def story() -> None:
        media = Media("127.0.0.1", (34000, 34999), asyncio.get_running_loop().call_soon_threadsafe)
        engine = Engine(house.folder, Holder(house.folder), media, Log("test", io.StringIO()))
        engine.start()
        try:
            for number in range(calls):
                engine.take(RemoteLeg(replace(INVITE, call=number), send), False)
        finally:
            async with asyncio.timeout(10):
                while len(house.files("part" if engine.calls else "cap")) < calls:
                    await asyncio.sleep(0.01)
            engine.close()

    asyncio.run(story())


@pytest.mark.parametrize(("quick", "before"), [(60.0, [1, 1, 2]), (0.0, [1, 2, 3])])
def test_only_a_slow_disk_is_waited_for_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: float, before: list[int]
) -> None:
    """Of a new one nothing is known. before: files that are there when each call is answered."""
    monkeypatch.setattr("nightbell.phone.recorder.QUICK", quick)
    house, there = House(tmp_path), list[int]()
    take_calls(house, lambda said: there.append(len(house.files())) if isinstance(said, Answer) else None, 3)
    assert there == before
    assert len(house.files("part")) == 3


def test_a_call_that_cannot_be_answered_leaves_its_trace(tmp_path: Path) -> None:
    house = House(tmp_path)

    def send(said: object) -> None:
        if isinstance(said, Answer):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        take_calls(house, send)
    [capture] = house.wait_for_captures(1)
    assert (capture.meta.caller, capture.end.reason) == (CALLER, EndReason.INTERRUPTED)
