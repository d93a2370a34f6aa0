"""Calls over two engine processes behind one front: real SIP and RTP, and what is left when a part of it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.phone.house import DIALLED, HandCaller, House, sound_of, speech, spoken_of, write_wav
from tests.phone.test_control import Worker

from nightbell.core.capture import Capture, Codec, EndReason
from nightbell.phone.endpoint import OutgoingCall
from nightbell.phone.spread import shares
from nightbell.sealing import spool
from nightbell.sealing.capture import open_capture

pytestmark = pytest.mark.slow
SHARES = shares((20000, 29999), 2)


@contextlib.contextmanager
def spread(root: Path, **changes: object) -> Iterator[House]:
    house = House(root, **changes)
    house.processes = 2
    try:
        house.start()
        yield house
    finally:
        if house.process is not None:
            house.process.kill()
            house.process.wait()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with spread(tmp_path_factory.mktemp("spread"), languages=("en", "es")) as house:
        yield house


def engine_pids(house: House) -> list[int]:
    """Of all engines that were started, in the order of their start."""
    lines = [json.loads(line) for line in (house.home / "phone.log").read_text().splitlines()]
    return [line["pid"] for line in lines if line["event"] == "engine_started"]


def engine_of(port: int) -> int:
    """Which engine's share a port of ours is in."""
    [number] = [number for number, (low, high) in enumerate(SHARES) if low <= port <= high]
    return number


def frames(seconds: float, seed: int) -> list[bytes]:
    sound = speech(seconds, seed)
    return [sound[at : at + 160] for at in range(0, len(sound), 160)]


async def speak(hand: HandCaller, sound: list[bytes], first: int = 0) -> None:
    began = time.monotonic()
    for number, frame in enumerate(sound):
        hand.audio(first + number, frame)
        await asyncio.sleep(max(0, began + (number + 1) * 0.02 - time.monotonic()))


@contextlib.asynccontextmanager
async def two_calls(house: House) -> AsyncIterator[list[HandCaller]]:
    """One call on each engine, after the tone; by the number of their engine."""
    async with HandCaller(house, "5552017301") as one, HandCaller(house, "5552017302") as other:
        pair = sorted([one, other], key=lambda hand: engine_of(hand.target[1]))
        assert [engine_of(hand.target[1]) for hand in pair] == [0, 1]
        await asyncio.gather(one.tone(), other.tone())
        yield pair


def captures(house: House) -> dict[str, Capture]:
    """What intake would find, by the caller's number."""
    found = [open_capture(path.read_bytes(), house.private) for path in spool.waiting(house.spool)]
    return {one.meta.caller: one for one in found}


def wait_until(true: object, seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < ends
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_calls_on_both_engines_keep_every_byte_and_every_key(house: House, tmp_path: Path) -> None:
    sounds = [speech(3, 40 + number) for number in range(4)]  # the last two of them encrypted
    calls = [
        house.call(
            "--from", f"555201731{number}", "--digits", "10", "--srtp", ("none", "none", "sdes", "dtls")[number],
            wav=write_wav(tmp_path / f"{number}.wav", sound), background=True,
        )
        for number, sound in enumerate(sounds)
    ]  # fmt: skip
    reports = [json.loads(call.communicate(timeout=60)[0]) for call in calls]
    assert [report["srtp"] for report in reports] == ["none", "none", "sdes", "dtls"]
    wait_until(lambda: len([caller for caller in captures(house) if caller.startswith("555201731")]) == 4)
    found = {caller: one for caller, one in captures(house).items() if caller.startswith("555201731")}
    for number, sound in enumerate(sounds):
        capture = found[f"555201731{number}"]
        assert sound in sound_of(capture)
        assert (capture.end.reason, capture.meta.dialled) == (EndReason.HANG_UP, DIALLED)
        assert [digit.key for digit in capture.digits] == ["1", "0"]
        assert "urgent" in [mark.name for mark in capture.marks]


def test_quick_calls_are_shared_out_evenly(house: House) -> None:
    async def story() -> tuple[list[int], list[int]]:
        async with HandCaller(house, "5552017400") as hand:
            local = hand.transport.get_extra_info("sockname")[:2]

            async def one(number: int) -> OutgoingCall:
                return await hand.endpoint.dial(house.uri, local, (Codec.PCMU,), f"55520184{number:02}")

            quick = []
            for number in range(160):
                leg = await one(number % 100)
                quick.append(leg.remote.port)
                leg.hangup()
            await asyncio.sleep(1)
            held = await asyncio.gather(*(one(number) for number in range(39)))
            for leg in held:
                leg.hangup()
            return quick, [leg.remote.port for leg in held] + [hand.target[1]]

    quick, held = asyncio.run(story())
    assert sum(engine_of(port) == 0 for port in held) == 20
    assert 50 <= sum(engine_of(port) == 0 for port in quick) <= 110  # by the calls that are up at the moment
    wait_until(lambda: "5552017400" in captures(house))


def test_what_a_caller_chose_is_known_to_the_other_engine_too(house: House) -> None:
    async def choose() -> None:
        async with HandCaller(house, "5552017500") as hand:
            hand.press("2")
            await asyncio.sleep(7)  # keys count once the words about 911 are over

    async def again() -> set[int]:
        async with HandCaller(house, "5552017500") as one, HandCaller(house, "5552017500") as other:
            return {engine_of(one.target[1]), engine_of(other.target[1])}

    asyncio.run(choose())
    assert asyncio.run(again()) == {0, 1}
    wait_until(lambda: len(_languages(house, "5552017500")) == 3)
    assert _languages(house, "5552017500") == ["en", "es", "es"]


def _languages(house: House, caller: str) -> list[str]:
    found = [open_capture(path.read_bytes(), house.private) for path in spool.waiting(house.spool)]
    return [one.meta.language for one in found if one.meta.caller == caller]


def test_a_killed_engine_costs_only_its_own_calls_a_second(tmp_path: Path) -> None:
    sound = frames(4, 50)

    async def story(house: House, worker: Worker) -> None:
        async with two_calls(house) as (victim, other):
            await asyncio.gather(speak(victim, sound[:100]), speak(other, sound[:100]))
            os.kill(engine_pids(house)[0], signal.SIGKILL)
            await speak(other, sound[100:], 100)
            await asyncio.wait_for(victim.ended.wait(), 2)
            assert not other.ended.is_set()
            async with HandCaller(house, "5552017303") as later:
                await later.tone()
                await speak(later, sound[:50])
            health = worker.hear("health", lambda line: line["engines_lost"] > 0)
            assert (health["engines_lost"], health["active_calls"]) == (1, 2)

    with spread(tmp_path) as house:
        worker = Worker(house.home / "run" / "control.sock")
        asyncio.run(story(house, worker))
        worker.close()
        wait_until(lambda: len(captures(house)) == 3)
        found = captures(house)
        [killed] = [one for one in found.values() if not one.complete]
        assert killed.end.reason is EndReason.INTERRUPTED
        assert b"".join(sound).startswith(spoken_of(killed))
        assert 100 * 160 - len(spoken_of(killed)) <= 8000
        [whole] = [one for caller, one in found.items() if one.complete and caller != "5552017303"]
        assert spoken_of(whole) == b"".join(sound)
        wait_until(lambda: len(engine_pids(house)) == 3)


def test_new_calls_have_the_new_snapshot_and_all_end_saved_when_it_is_told_to_stop(tmp_path: Path) -> None:
    sound = frames(2, 51)

    async def story(house: House, worker: Worker) -> None:
        async with two_calls(house) as pair:
            worker.order("snapshot", json.loads(house.signed(2)))
            assert worker.hear("snapshot_in_force")["version"] == 2
            async with HandCaller(house, "5552017311") as new, HandCaller(house, "5552017312") as newer:
                await asyncio.gather(*(speak(hand, sound) for hand in pair))
                assert house.process is not None
                house.process.send_signal(signal.SIGTERM)  # calls have 3 seconds to end by themselves
                every = (*pair, new, newer)
                await asyncio.gather(*(asyncio.wait_for(hand.ended.wait(), 15) for hand in every))

    with spread(tmp_path) as house:
        worker = Worker(house.home / "run" / "control.sock")
        pids = engine_pids(house)
        asyncio.run(story(house, worker))
        assert house.process is not None
        assert house.process.wait(15) == 0
        house.process = None
        worker.close()
        assert not any(alive(pid) for pid in pids)
        found = captures(house)
        old, new = ("5552017301", "5552017302"), ("5552017311", "5552017312")
        assert {one.end.reason for one in found.values()} == {EndReason.DRAIN}
        assert all(found[caller].meta.snapshot == 1 and found[caller].complete for caller in old)
        assert all(found[caller].meta.snapshot == 2 and found[caller].complete for caller in new)
        assert all(spoken_of(found[caller]) == b"".join(sound) for caller in old)


def test_engines_save_what_was_said_and_end_when_the_front_is_killed(tmp_path: Path) -> None:
    sound = frames(2, 53)

    async def story(house: House) -> None:
        async with two_calls(house) as pair:
            await asyncio.gather(*(speak(hand, sound) for hand in pair))
            house.stop(signal.SIGKILL)

    with spread(tmp_path) as house:
        pids = engine_pids(house)
        asyncio.run(story(house))
        wait_until(lambda: not any(alive(pid) for pid in pids), 20)
        found = captures(house)
        assert [spoken_of(one) == b"".join(sound) and one.complete for one in found.values()] == [True, True]


LOCKED = """
import socket, sys
from nightbell.core import config
from nightbell.phone.engine_main import lock_in
settings = config.load()
lock_in(settings)

def attempt(act):
    try:
        act()
        return "done"
    except PermissionError:
        return "refused"

phone = settings.home / "phone"
print(
    attempt(lambda: (phone / "spool" / "x").write_bytes(b"x")),
    attempt(lambda: (phone / "snapshot.json").read_bytes()),
    attempt(lambda: (phone / "snapshot.json").write_bytes(b"x")),
    attempt(lambda: (phone / "clips" / "x").write_bytes(b"x")),
    attempt(lambda: (settings.keys / "epoch").read_bytes()),
    attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])))),
)
"""


def test_engines_are_locked_in_more_closely_than_the_front(house: House) -> None:
    for pid in engine_pids(house):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            assert "NoNewPrivs:\t1" in (thread / "status").read_text()
    outside = socket.create_server(("127.0.0.1", 0))
    run = subprocess.run(
        [sys.executable, "-c", LOCKED, str(outside.getsockname()[1])],
        env=house.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    outside.close()
    assert run.stdout.split() == ["done", "done", "refused", "refused", "refused", "refused"], run.stderr
