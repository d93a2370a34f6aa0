"""What goes wrong around a call: kill, full disk, drain, forged and missing settings."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.phone.house import HandCaller, House, running, sound_of, speech, spoken_of, write_wav

from nightbell.core.capture import EndReason
from nightbell.phone.endpoint import CallFailed
from nightbell.sealing import spool
from nightbell.sealing.capture import open_capture

pytestmark = pytest.mark.slow


async def _speak(hand: HandCaller, frames: list[bytes]) -> None:
    """At the pace of speech."""
    began = asyncio.get_running_loop().time()
    for number, frame in enumerate(frames):
        hand.audio(number, frame)
        await asyncio.sleep(max(0, began + (number + 1) * 0.02 - asyncio.get_running_loop().time()))


def _frames(seconds: float, seed: int) -> list[bytes]:
    sound = speech(seconds, seed)
    return [sound[at : at + 160] for at in range(0, len(sound), 160)]


@pytest.mark.parametrize("seconds", [2.0, 2.7, 4.35])
def test_it_loses_at_most_a_second_when_it_is_killed_in_the_middle(tmp_path: Path, seconds: float) -> None:
    house = House(tmp_path)
    house.start()
    frames = _frames(seconds, 21)

    async def talk() -> None:
        async with HandCaller(house) as hand:
            await hand.tone()
            await _speak(hand, frames)
            house.stop(signal.SIGKILL)

    asyncio.run(talk())
    [left] = spool.waiting(house.spool)
    assert left.suffix == spool.PART
    capture = open_capture(left.read_bytes(), house.private)
    assert capture.end.reason is EndReason.INTERRUPTED
    assert not capture.complete
    kept = spoken_of(capture)
    assert kept == b"".join(frames)[: len(kept)]
    assert len(frames) * 160 - len(kept) <= 8000


def test_it_leaves_a_trace_of_a_call_that_was_killed_in_its_first_second(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.start()

    async def talk() -> None:
        async with HandCaller(house):
            await asyncio.sleep(0.3)
            house.stop(signal.SIGKILL)

    asyncio.run(talk())
    [left] = spool.waiting(house.spool)
    assert open_capture(left.read_bytes(), house.private).meta.caller == "5552017123"


def test_it_takes_calls_again_after_it_was_killed(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.start()
    house.stop(signal.SIGKILL)
    (house.home / "phone.log").write_text("")
    house.start()
    try:
        assert house.call("--digits", "0", wav=write_wav(tmp_path / "a.wav", speech(1))).returncode == 0
        house.wait_for_captures(1)
    finally:
        house.stop(signal.SIGKILL)


def test_it_keeps_what_there_is_and_says_trouble_when_the_file_can_grow_no_more(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.start(prefix=("prlimit", "--fsize=32000"))
    frames = _frames(6, 22)

    async def talk() -> bool:
        async with HandCaller(house) as hand:
            await hand.tone()
            await _speak(hand, frames)
            await asyncio.wait_for(hand.ended.wait(), 20)  # the words of `trouble`, then they hang up
            return hand.ended.is_set()

    try:
        assert asyncio.run(talk())
        house.wait_for_log("capture_failed")
    finally:
        assert house.stop() == 0
    [left] = spool.waiting(house.spool)
    kept = spoken_of(open_capture(left.read_bytes(), house.private))
    assert len(kept) > 8000
    assert kept == b"".join(frames)[: len(kept)]


FULL = """
import contextlib, errno, json, os, sys, threading, time
from pathlib import Path
from nightbell.core.capture import Codec, CaptureMeta, End, EndReason
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.phone.recorder import CannotRecord, Recorder
from nightbell.sealing.capture import open_capture
from nightbell.sealing.epochs import new_epoch

folder = Path(sys.argv[1])
epoch, private = new_epoch()
log = Log("test", open(os.devnull, "w"))
recorder = Recorder(folder, log, reserve_bytes=1_000_000)
recorder.start()
out = {"reserve": (folder / ".reserve").stat().st_size}

def fill():
    with open(folder / "filler", "ab") as file:
        with contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))

def meta():
    return CaptureMeta(new_ulid(), "p", "m", "1", "2", "2026-11-24T00:00:00.000Z", "en", Codec.PCMU, 1)

def take(recording, packets):
    said, done = [], threading.Event()
    for number in range(packets):
        recording.audio([(number * 160, number.to_bytes(4, "big") * 40)], 0.0)
    recording.finish(End(9, EndReason.HANG_UP), lambda ok: (said.append(ok), ok and done.set()))
    recorder.wake()
    return said, done

fill()
first = recorder.open(meta(), epoch, lambda: out.setdefault("first_failed", True))
said, done = take(first, 1000)
out["first_durable"] = done.wait(5)
out["first"] = len(open_capture((folder / (first.capture + ".cap")).read_bytes(), private).packets)
second = recorder.open(meta(), epoch, lambda: out.setdefault("second_failed", True))
fill()
said, done = take(second, 1000)
time.sleep(0.5)
out["second_said"] = list(said)
try:
    recorder.open(meta(), epoch, lambda: None)
    out["third"] = "opened"
except CannotRecord as error:
    out["third"] = str(error)
os.unlink(folder / "filler")
out["second_late"] = done.wait(12)
out["second"] = len(open_capture((folder / (second.capture + ".cap")).read_bytes(), private).packets)
out["counters"] = {name: getattr(recorder.counters, name) for name in recorder.counters.__slots__}
out["left"] = sorted(path.suffix for path in folder.iterdir() if path.name != ".reserve")
recorder.close()
print(json.dumps(out))
"""


def test_it_lives_off_its_reserve_on_a_full_disk_and_finishes_late_what_did_not_fit(tmp_path: Path) -> None:
    script, folder = tmp_path / "full.py", tmp_path / "disk"
    script.write_text(FULL)
    folder.mkdir()
    # A disk of its own, three megabytes large, in a mount namespace that ends with the process.
    command = f"mount -t tmpfs -o size=3m tmpfs {folder} && exec {sys.executable} {script} {folder}"
    run = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], env={"PYTHONPATH": "src", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    out = json.loads(run.stdout)
    assert out["reserve"] == 1_000_000
    assert out["first_durable"]
    assert out["first"] == 1000
    assert "first_failed" not in out
    assert out["counters"]["reserve_used"] >= 1
    assert out["second_failed"]
    assert out["second_said"] == [False]
    assert out["third"].startswith("capture")
    assert out["second_late"]
    assert out["second"] == 1000
    assert out["counters"]["late"] == 1
    assert out["left"] == [".cap", ".cap"]


def test_it_lets_a_call_finish_when_told_to_stop_and_takes_no_new_one(tmp_path: Path) -> None:
    with running(tmp_path) as house:

        async def talk() -> None:
            async with HandCaller(house) as hand:
                await hand.tone()
                assert house.process is not None
                house.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.2)
                with pytest.raises(CallFailed) as refused:
                    await HandCaller(house).__aenter__()
                assert refused.value.code == 503
                await _speak(hand, _frames(1.5, 23))
                hand.leg.hangup()
                await asyncio.sleep(0.2)

        asyncio.run(talk())
        assert house.process is not None
        assert house.process.wait(10) == 0
        house.process = None
        [capture] = house.wait_for_captures(1)
        assert spoken_of(capture) == speech(1.5, 23)
        assert capture.end.reason is EndReason.HANG_UP


def test_it_ends_and_saves_a_call_that_outlasts_the_drain(tmp_path: Path) -> None:
    with running(tmp_path) as house:

        async def talk() -> float:
            async with HandCaller(house) as hand:
                await hand.tone()
                assert house.process is not None
                house.process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                await _speak(hand, _frames(5, 24))
                await asyncio.wait_for(hand.ended.wait(), 10)
                return time.monotonic() - began

        assert asyncio.run(talk()) >= 3
        assert house.process is not None
        assert house.process.wait(15) == 0
        house.process = None
        [capture] = house.wait_for_captures(1)
        assert capture.end.reason is EndReason.DRAIN
        assert len(sound_of(capture)) > 2.5 * 8000


def _refused(house: House) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "nightbell.phone"], env=house.environment(), capture_output=True, text=True,
        timeout=20, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    return run.stderr


def test_it_refuses_to_start_without_a_snapshot_or_with_a_forged_one(tmp_path: Path) -> None:
    house = House(tmp_path)
    (house.folder / "snapshot.json").unlink()
    assert "start the worker once" in _refused(house)
    (house.folder / "snapshot.json").write_bytes(house.signed(1, signer=Ed25519PrivateKey.generate()))
    assert "not by the pinned key" in _refused(house)
    (house.folder / "trust.pub").write_text("rubbish")
    assert "trust.pub" in _refused(house)


def test_it_says_which_port_is_taken(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        assert str(house.port) in _refused(house) or "NIGHTBELL_SIP_PORT" in _refused(house)
