"""The recorder: sealed within moments, durable when it says so, bounded, and alive when one call breaks."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightbell.core.capture import CaptureMeta, Codec, Digit, End, EndReason, Mark
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.phone.recorder import MAX_SMALL_RECORDS, CannotRecord, Recorder, Recording
from nightbell.sealing.capture import open_capture
from nightbell.sealing.epochs import new_epoch
from nightbell.sealing.spool import SpoolFile, waiting

EPOCH, PRIVATE = new_epoch()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, Log("test", io.StringIO()), reserve_bytes=100_000)
    recorder.start()
    yield recorder
    recorder.close()


def opened(recorder: Recorder, failed: list[int] | None = None) -> Recording:
    meta = CaptureMeta(new_ulid(), "p", "m", "1", "2", "2026-11-24T00:00:00.000Z", "en", Codec.PCMU, 1)
    return recorder.open(meta, EPOCH, lambda: (failed if failed is not None else []).append(1))


def finished(recorder: Recorder, recording: Recording) -> bool:
    said: list[bool] = []
    done = threading.Event()

    def tell(durable: bool) -> None:
        said.append(durable)
        done.set()

    recording.finish(End(5, EndReason.POUND), tell)
    recorder.wake()
    assert done.wait(5)
    return said[0]


def test_it_keeps_what_was_said_in_order(recorder: Recorder, tmp_path: Path) -> None:
    recording = opened(recorder)
    for number in range(300):
        recording.audio([(number * 160, bytes([number % 256]) * 160)], time.monotonic())
        if number == 100:
            recording.note(Digit(77, "5"))
            recording.note(Mark(78, "urgent"))
    assert finished(recorder, recording)
    capture = open_capture((tmp_path / f"{recording.capture}.cap").read_bytes(), PRIVATE)
    assert [packet.offset for packet in capture.packets] == [number * 160 for number in range(300)]
    assert capture.digits == (Digit(77, "5"),)
    assert capture.marks == (Mark(78, "urgent"),)
    assert capture.complete


def test_it_has_what_was_said_on_file_within_a_second_without_being_asked(
    recorder: Recorder, tmp_path: Path
) -> None:
    recording = opened(recorder)
    for number in range(3):
        recording.audio([(number * 160, b"x" * 160)], time.monotonic())
    time.sleep(1.15)
    part = (tmp_path / f"{recording.capture}.part").read_bytes()
    assert len(open_capture(part, PRIVATE).packets) == 3
    finished(recorder, recording)


def test_it_has_all_that_was_said_on_file_when_it_says_that_it_is_synced(
    recorder: Recorder, tmp_path: Path
) -> None:
    recording = opened(recorder)
    for number in range(1000):
        recording.audio([(number * 160, bytes([number % 256]) * 160)], time.monotonic())
    recording.note(Mark(20_000, "part-end"))
    synced = threading.Event()
    cut: list[bytes] = []

    def tell() -> None:
        cut.append((tmp_path / f"{recording.capture}.part").read_bytes())  # what a power cut now would leave
        synced.set()

    recording.sync(tell)
    recorder.wake()
    assert synced.wait(5)
    left = open_capture(cut[0], PRIVATE)
    assert [packet.offset for packet in left.packets] == [number * 160 for number in range(1000)]
    assert left.marks == (Mark(20_000, "part-end"),)
    assert left.end.reason is EndReason.INTERRUPTED
    recording.audio([(1000 * 160, b"x" * 160)], 0)
    assert finished(recorder, recording)
    whole = open_capture((tmp_path / f"{recording.capture}.cap").read_bytes(), PRIVATE)
    assert len(whole.packets) == 1001
    assert whole.complete


def test_it_tells_of_a_sync_once_and_never_after_a_failure(recorder: Recorder) -> None:
    failed: list[int] = []
    told: list[int] = []
    whole, broken = opened(recorder), opened(recorder, failed)
    os.close(broken.file._handle)
    broken.file._handle = os.open("/dev/full", os.O_WRONLY)
    broken.audio([(0, b"x" * 160)], 0)
    broken.sync(lambda: told.append(2))
    whole.sync(lambda: told.append(1))
    recorder.wake()
    for _ in range(100):
        if failed and told:
            break
        time.sleep(0.02)
    assert finished(recorder, whole)
    assert told == [1]
    assert failed == [1]


def test_it_drops_what_comes_after_the_end(recorder: Recorder, tmp_path: Path) -> None:
    recording = opened(recorder)
    recording.audio([(0, b"x" * 160)], 0)
    assert finished(recorder, recording)
    recording.audio([(160, b"y" * 160)], 0)
    recording.note(Mark(9, "late"))
    recording.finish(End(9, EndReason.LIMIT), lambda durable: None)
    capture = open_capture((tmp_path / f"{recording.capture}.cap").read_bytes(), PRIVATE)
    assert len(capture.packets) == 1
    assert capture.end.reason is EndReason.POUND


def test_a_thousand_keys_do_not_push_out_what_the_flow_decided(recorder: Recorder, tmp_path: Path) -> None:
    recording = opened(recorder)
    for number in range(5000):
        recording.note(Digit(number, "1"))
    recording.note(Mark(5000, "urgent"))
    assert finished(recorder, recording)
    capture = open_capture((tmp_path / f"{recording.capture}.cap").read_bytes(), PRIVATE)
    assert len(capture.digits) == MAX_SMALL_RECORDS
    assert capture.marks == (Mark(5000, "urgent"),)


def test_it_goes_on_for_others_when_one_call_breaks(recorder: Recorder) -> None:
    failed: list[int] = []
    broken, whole = opened(recorder, failed), opened(recorder)
    os.close(broken.file._handle)
    broken.file._handle = os.open("/dev/full", os.O_WRONLY)
    for number in range(100):
        broken.audio([(number * 160, b"x" * 160)], 0)
        whole.audio([(number * 160, b"x" * 160)], 0)
    assert finished(recorder, whole)
    for _ in range(50):
        if failed:
            break
        time.sleep(0.05)
    assert failed == [1]
    assert recorder.counters.failed == 1


def test_it_says_so_when_no_capture_can_be_opened(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "nowhere", Log("test", io.StringIO()))
    with pytest.raises(CannotRecord, match="make room"):
        opened(recorder)
    assert recorder.counters.failed == 1


def test_it_keeps_a_reserve_of_real_blocks(recorder: Recorder, tmp_path: Path) -> None:
    found = (tmp_path / ".reserve").stat()
    assert found.st_size == 100_000
    assert found.st_blocks * 512 >= 100_000


def test_it_writes_out_at_its_end_what_no_call_has_ended(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, Log("test", io.StringIO()), reserve_bytes=1000)
    recorder.start()
    recording = opened(recorder)
    for number in range(60):
        recording.audio([(number * 160, b"x" * 160)], 0)
    recorder.close()
    left = open_capture((tmp_path / f"{recording.capture}.part").read_bytes(), PRIVATE)
    assert len(left.packets) >= 45
    assert left.end.reason is EndReason.INTERRUPTED


def test_an_epoch_that_nothing_can_be_sealed_to_is_no_recording_and_no_other_error(
    recorder: Recorder,
) -> None:
    garbled = new_epoch()[0]
    object.__setattr__(garbled, "public", b"garbled")
    meta = CaptureMeta(new_ulid(), "p", "m", "1", "2", "2026-11-24T00:00:00.000Z", "en", Codec.PCMU, 1)
    with pytest.raises(CannotRecord, match="cannot be sealed"):
        recorder.open(meta, garbled, lambda: None)
    assert (recorder.counters.failed, recorder.open_captures) == (1, 0)


def test_a_disk_that_takes_nothing_and_lets_nothing_be_removed_is_no_recording(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr(SpoolFile, "append", read_only)
        patched.setattr(Path, "unlink", read_only)
        with pytest.raises(CannotRecord, match="cannot be written"):
            opened(recorder)
    assert len(waiting(tmp_path)) == 1  # nobody holds it: intake looks at it
    assert not recorder.quick


def test_a_disk_is_quick_while_it_was_and_nothing_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightbell.phone.recorder.QUICK", 0.4)
    hold, synced = threading.Event(), threading.Event()
    sync = SpoolFile.sync
    with contextlib.closing(Recorder(tmp_path, Log("test", io.StringIO()), 100_000)) as recorder:
        assert not recorder.quick  # nothing is known of it
        recording = opened(recorder)
        assert recorder.quick
        monkeypatch.setattr("nightbell.phone.recorder.FRESH", 0.0)
        assert not recorder.quick
        monkeypatch.setattr("nightbell.phone.recorder.FRESH", 60.0)
        monkeypatch.setattr(SpoolFile, "sync", lambda file: (hold.wait(5), sync(file))[1])
        recording.sync(synced.set)
        recorder.start()
        time.sleep(0.7)
        assert not recorder.quick  # it waits
        hold.set()
        assert synced.wait(5)
        assert not recorder.quick  # it took long
        synced.clear()
        recording.sync(synced.set)
        recorder.wake()
        assert synced.wait(5)
        assert recorder.quick
        assert finished(recorder, recording)
