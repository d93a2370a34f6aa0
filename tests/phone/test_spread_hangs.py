"""An engine that hangs: it is replaced, and who still waited for an answer gets it from another one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.phone.endpoints import message, offer, phone, run, until
from tests.phone.house import DIALLED, HandCaller, House

from nightbell.core.log import Log
from nightbell.phone import spread
from nightbell.phone.endpoint import CallFailed, Endpoint, Limits
from nightbell.phone.service import Phone
from nightbell.phone.snapshot import Holder
from nightbell.phone.spread import Spread

pytestmark = pytest.mark.slow


@dataclass
class Front:
    house: House
    works: Spread
    phone: Phone
    log: io.StringIO

    def pid(self, engine: int) -> int:
        process = self.works.engines[engine].process
        assert process is not None
        return process.pid


@contextlib.asynccontextmanager
async def front(root: Path, limits: Limits = Limits()) -> AsyncIterator[Front]:  # noqa: B008
    house, log = House(root), io.StringIO()
    holder = Holder(house.folder)
    environment = house.environment()
    works = Spread((36000, 37999), 2, environment, holder, Log("test", log))
    phone = Phone(house.folder, holder, works, root / "none.sock", Log("test", log))
    await works.begin()
    endpoint = Endpoint("127.0.0.1", 0, phone.on_call, Log("test", log), limits)
    await endpoint.start()
    house.port = endpoint.port
    phone.attach(endpoint)
    phone.start()
    try:
        yield Front(house, works, phone, log)
    finally:
        await endpoint.close()
        phone.close()


def test_a_call_that_a_hanging_engine_did_not_answer_is_answered_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "HANGS", 2.0)

    async def story() -> None:
        async with front(tmp_path) as it:
            hanging = it.pid(0)
            os.kill(hanging, signal.SIGSTOP)
            async with HandCaller(it.house) as hand:  # returns once it is answered
                low, high = it.works.engines[1].ports
                assert low <= hand.target[1] <= high
                assert it.works.lost == 1
                assert it.phone.health()["engines_lost"] == 1
                await until(lambda: it.works.engines[0].version == 1)
                assert it.pid(0) != hanging
                async with HandCaller(it.house, "5552017124") as next_one:
                    low, high = it.works.engines[0].ports
                    assert low <= next_one.target[1] <= high
            await until(lambda: not it.works.calls)
            assert '"event":"engine_hangs"' in it.log.getvalue()

    run(story())


def test_a_caller_whose_engine_hangs_hears_it_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "HANGS", 2.5)

    async def story() -> None:
        async with front(tmp_path) as it, phone(it.house.port) as client:
            os.kill(it.pid(0), signal.SIGSTOP)
            number = f"sip:{DIALLED}@127.0.0.1"
            client.send(message("INVITE", client.port, uri=number, body=offer(), extra="Require: 100rel\r\n"))
            ringing = await client.response()
            assert (ringing.code, ringing.get("require")) == (180, "100rel")
            acknowledged = f"RAck: {ringing.get('rseq')} 1 INVITE\r\n"
            client.send(
                message("PRACK", client.port, 2, branch="z9hG4bKp", to_tag=ringing.to.tag, extra=acknowledged)
            )
            answers = [await client.response(), await client.response()]
            assert [(one.code, one.cseq.method) for one in answers] == [(200, "PRACK"), (200, "INVITE")]
            await until(lambda: it.works.engines[0].version == 1)

    run(story())


def test_trunk_rules_do_not_wait_for_an_engine_that_hangs(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(tmp_path) as it:
            seen: list[int] = []
            it.phone.routed = lambda snapshot: seen.append(snapshot.version)
            os.kill(it.pid(0), signal.SIGSTOP)
            it.phone._command("snapshot", json.loads(it.house.signed(2)))
            await until(lambda: it.works.engines[1].version == 2)
            assert seen == [2]
            assert it.phone.health()["snapshot_version"] == 1  # what every new call gets
            os.kill(it.pid(0), signal.SIGCONT)
            await until(lambda: it.phone.health()["snapshot_version"] == 2)
            assert seen == [2]

    run(story())


def test_a_call_that_no_engine_outlives_is_not_given_to_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "HANGS", 2.0)

    async def story() -> None:
        async with front(tmp_path) as it:
            for engine in (0, 1):
                os.kill(it.pid(engine), signal.SIGSTOP)
            with pytest.raises(CallFailed) as refused:
                async with HandCaller(it.house):
                    pass
            assert refused.value.code == 503
            assert it.works.calls == 0
            await until(lambda: all(engine.version for engine in it.works.engines))
            async with HandCaller(it.house):  # and the next caller is answered
                assert it.works.calls == 1

    run(story())


def test_a_port_that_a_dead_engines_caller_may_still_speak_to_rests(tmp_path: Path) -> None:
    async def story() -> None:
        async with front(tmp_path) as it:
            async with HandCaller(it.house) as hand:
                port = hand.target[1]
                os.kill(it.pid(0), signal.SIGKILL)
                await asyncio.wait_for(hand.ended.wait(), 3)
            await until(lambda: it.works.engines[0].version == 1)
            command = Path(f"/proc/{it.pid(0)}/cmdline").read_bytes().split(b"\0")
            assert command[-2].decode() == str(port)

    run(story())


def test_without_any_engine_a_caller_is_sent_to_the_carriers_fail_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "BACK_OFF", (60.0,))

    async def story() -> None:
        async with front(tmp_path) as it:
            for engine in (0, 1):
                os.kill(it.pid(engine), signal.SIGKILL)
            await until(lambda: it.works.lost == 2)
            with pytest.raises(CallFailed) as refused:
                async with HandCaller(it.house):
                    pass
            assert refused.value.code == 503

    run(story())
