import errno
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from nightbell.core.ids import new_ulid
from nightbell.sealing.errors import Busy
from nightbell.sealing.spool import SpoolFile, claimed, waiting


def test_a_finished_file_has_its_final_name_and_bytes(tmp_path):
    file = SpoolFile.create(tmp_path, new_ulid())
    file.append(b"one")
    file.sync()
    assert waiting(tmp_path) == []
    file.append(b"two")
    path = file.finish()
    assert (path.suffix, path.read_bytes(), path.stat().st_mode & 0o777) == (".cap", b"onetwo", 0o600)
    assert waiting(tmp_path) == [path]
    assert os.listdir(tmp_path) == [path.name]


def test_a_live_writer_is_left_alone_and_a_dead_one_is_taken(tmp_path):
    code = (
        "import sys,time;from pathlib import Path;from nightbell.sealing.spool import SpoolFile;"
        "f=SpoolFile.create(Path(sys.argv[1]),sys.argv[2]);f.append(b'x');f.sync();print('up',flush=True);time.sleep(60)"
    )
    name = new_ulid()
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=subprocess.PIPE)
    with child:
        assert child.stdout.readline() == b"up\n"
        part = tmp_path / f"{name}.part"
        assert waiting(tmp_path) == []
        with pytest.raises(Busy), claimed(part):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert waiting(tmp_path) == [part]
    with claimed(part) as held, pytest.raises(Busy), claimed(held):
        pass


def test_waiting_is_oldest_first_and_ignores_other_files(tmp_path):
    names = [new_ulid(at) for at in (3000, 1000, 2000)]
    for name in names:
        SpoolFile.create(tmp_path, name).finish()
    (tmp_path / "note.cap").write_bytes(b"")
    (tmp_path / ".x.new").write_bytes(b"")
    assert [p.stem for p in waiting(tmp_path)] == sorted(names)


def test_a_file_renamed_meanwhile_is_busy_not_lost(tmp_path):
    file = SpoolFile.create(tmp_path, new_ulid())
    part = file.path
    file.finish()
    with pytest.raises(Busy), claimed(part):
        pass


def test_an_abandoned_file_stays_for_intake_and_a_discarded_one_goes(tmp_path):
    kept, gone = SpoolFile.create(tmp_path, new_ulid()), SpoolFile.create(tmp_path, new_ulid())
    kept.abandon()
    gone.discard()
    assert waiting(tmp_path) == [kept.path]


def test_it_never_overwrites(tmp_path):
    name = new_ulid()
    file = SpoolFile.create(tmp_path, name)
    with pytest.raises(FileExistsError):
        SpoolFile.create(tmp_path, name)
    with pytest.raises(ValueError):
        SpoolFile.create(tmp_path, "../x")
    file.abandon()
    assert os.listdir(tmp_path) == [f"{name}.part"]


def test_a_full_disk_loses_no_byte_once_there_is_room(tmp_path):
    file = SpoolFile.create(tmp_path, new_ulid())
    file.append(b"a" * 4000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            file.append(b"b" * 4000)
        assert caught.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.append(b"c")
    assert file.finish().read_bytes() == b"a" * 4000 + b"b" * 4000 + b"c"


def test_intake_never_takes_a_file_that_is_just_being_made(tmp_path):
    taken, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            taken.extend(waiting(tmp_path))

    eye = threading.Thread(target=look)
    eye.start()
    files = [SpoolFile.create(tmp_path, new_ulid()) for _ in range(150)]
    stop.set()
    eye.join()
    assert taken == []
    for file in files:
        file.abandon()
    assert len(waiting(tmp_path)) == 150


def test_syncing_beside_the_writer_keeps_order_and_every_byte(tmp_path):
    file, stop = SpoolFile.create(tmp_path, new_ulid()), threading.Event()

    def sync() -> None:
        while not stop.is_set():
            file.sync()

    other = threading.Thread(target=sync)
    other.start()
    for n in range(2000):
        file.append(n.to_bytes(4, "big") * 30)
    stop.set()
    other.join()
    assert file.finish().read_bytes() == b"".join(n.to_bytes(4, "big") * 30 for n in range(2000))
