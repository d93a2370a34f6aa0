import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from nightbell.core.ids import new_ulid
from nightbell.sealing.errors import Busy, KeyUnavailable, NoSuchKey, Tampered, UnknownFormat
from nightbell.sealing.keyring import Keyring
from nightbell.sealing.provider import FileKeyProvider

NOW = "2026-11-24T03:00:00.000Z"


def test_it_keeps_replaces_and_forgets_keys(ring):
    ring.put("a", "message", b"one")
    ring.put("a", "message", b"two")
    ring.put("b", "epoch", b"three")
    assert (ring.get("a", "message"), ring.get("b", "epoch")) == (b"two", b"three")
    assert ring.ids("message") == ["a"]
    assert ring.get_many(["a", "x", "a"], "message") == {"a": b"two"}
    with pytest.raises(NoSuchKey):
        ring.get("b", "message")
    with pytest.raises(ValueError):
        ring.put("b", "message", b"")
    with pytest.raises(ValueError):
        ring.put("c", "other", b"")
    assert (ring.destroy("a"), ring.destroy("a"), ring.has("a"), ring.has("b")) == (True, False, False, True)


def test_a_second_process_sees_the_same_keys(home, ring):
    ring.put("a", "message", b"one")
    other = home.keyring()
    assert other.get("a", "message") == b"one"
    ring.compact(NOW)
    assert other.get("a", "message") == b"one"
    other.put("b", "message", b"two")
    assert ring.get("b", "message") == b"two"
    other.close()


def test_without_the_providers_key_nothing_opens_until_it_is_back(home, ring):
    ring.put("a", "message", b"one")
    home.provider.path.rename(home.root / "away")
    for use in (
        lambda: ring.get("a", "message"),
        lambda: ring.put("b", "message", b""),
        lambda: ring.compact(NOW),
    ):
        with pytest.raises(KeyUnavailable):
            use()
    assert ring.has("a")
    (home.root / "away").rename(home.provider.path)
    assert ring.get("a", "message") == b"one"


@pytest.mark.parametrize("told", [True, False])
def test_a_database_that_was_started_anew_is_spoken_to_again_at_once(home, ring, monkeypatch, told):
    """Whoever asks first must not be refused. told: the server said good-bye, and it was heard before the asking."""
    if not told:
        monkeypatch.setattr("nightbell.sealing.entries_postgres._was_left", lambda connection: False)
    ring.put("a", "message", b"one")
    for _ in range(3):
        _restarted(home)
        assert ring.get("a", "message") == b"one"
    _restarted(home)
    if told:
        ring.put("b", "message", b"two")
        assert ring.get_many(["a", "b"], "message") == {"a": b"one", "b": b"two"}


def _restarted(home):
    """Every connection of others ends, as when a server is started anew. A SQLite file has no server."""
    if home.location.startswith("postgres"):
        with psycopg.connect(home.location, autocommit=True) as connection:
            others = (
                "pid <> pg_backend_pid() AND datname = current_database() AND backend_type = 'client backend'"
            )
            connection.execute(f"SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE {others}")


def test_entries_cannot_change_places(home, ring):
    ring.put("a", "message", b"one")
    ring.put("b", "message", b"two")
    with ring._entries.writing():
        ring._entries.run(
            "UPDATE entries SET wrapped = (SELECT wrapped FROM entries WHERE id = 'b') WHERE id = 'a'"
        )
    with pytest.raises(Tampered):
        ring.get("a", "message")


def test_compaction_keeps_the_living_and_reports(home, ring):
    ring.batch = 7
    for n in range(40):
        ring.put(f"m{n:05}", "message", n.to_bytes(4, "big"))
    ring.destroy("m00003")
    old = ring.periods.ids()
    report = ring.compact(NOW)
    assert (report.survivors, report.scrubbed) == (39, True)
    assert (list(report.destroyed), [report.period]) == (old, ring.periods.ids())
    assert ring.last_compaction() == NOW
    assert ring.get("m00004", "message") == (4).to_bytes(4, "big")
    everyone = [f"m{n:05}" for n in range(40)]
    assert len(ring.get_many(everyone, "message")) == 39
    with pytest.raises(NoSuchKey):
        ring.get("m00003", "message")


def test_a_period_that_a_compaction_destroys_in_between_does_not_refuse_a_new_key(home, ring):
    """Between asking for the period and opening it, a compaction moves on and destroys the old one."""
    ring.put("a" * 26, "message", bytes(32))
    opening = ring.periods.open

    def meanwhile(period):
        ring.periods.open = opening
        ring.compact(NOW)
        return opening(period)

    ring.periods.open = meanwhile
    ring.put("b" * 26, "message", bytes(range(32)))
    assert ring.get("b" * 26, "message") == bytes(range(32))


def test_two_compactions_do_not_meet(ring):
    ring.put("a", "message", b"one")
    with ring.periods.exclusive(), pytest.raises(Busy):
        ring.compact(NOW)


def test_a_damaged_entry_stops_erasure_and_is_named(ring):
    ring.put("a", "message", b"one")
    ring.put("b", "message", b"two")
    with ring._entries.writing():
        ring._entries.run("UPDATE entries SET wrapped = ? WHERE id = 'a'", (b"\x01" + bytes(40),))
    with pytest.raises(Tampered, match="first a"):
        ring.compact(NOW)
    assert ring.get("b", "message") == b"two"
    assert len(ring.periods.ids()) <= 2
    ring.destroy("a")
    assert ring.compact(NOW).survivors == 1
    assert len(ring.periods.ids()) == 1


def test_a_backup_comes_back_and_an_altered_one_does_not(home, ring):
    ring.put("a", "message", b"one")
    ring.put("b", "signer", b"two")
    kept = home.root / "keyring.backup"
    assert ring.backup(kept) == 2
    ring.destroy("a")
    assert ring.restore(kept).entries == 2
    assert ring.get("a", "message") == b"one"
    text = kept.read_bytes()
    kept.write_bytes(text.replace(b'"signer"', b'"secret"'))
    with pytest.raises(UnknownFormat, match="checksum"):
        ring.restore(kept)
    kept.write_bytes(text[:-80])
    with pytest.raises(UnknownFormat):
        ring.restore(kept)
    assert ring.get("b", "signer") == b"two"


def test_a_lost_disk_comes_back_from_backup_slot_and_kit(home, ring, tmp_path):
    ring.put("a", "message", b"one")
    ring.compact(NOW)
    kept = tmp_path / "keyring.backup"
    ring.backup(kept)
    provider = FileKeyProvider.create(tmp_path / "new" / "kek", home.provider.read())
    fresh = Keyring(str(tmp_path / "new.sqlite3"), tmp_path / "new" / "period", provider)
    fresh.periods.adopt(home.slot)
    assert fresh.restore(kept).unopenable == 0
    assert fresh.get("a", "message") == b"one"
    fresh.close()


def test_the_slot_holds_only_period_keys_that_live(home, ring):
    ring.put("a", "message", b"one")
    before = home.slot.read_bytes()
    old = ring.periods.ids()[0]
    ring.compact(NOW)
    assert old.encode() in before
    assert old.encode() not in home.slot.read_bytes()
    assert ring.periods.ids()[0].encode() in home.slot.read_bytes()


def test_a_new_provider_key_takes_over(home, ring):
    ring.put("a", "message", b"one")
    new = FileKeyProvider.create(home.keys / "kek2")
    ring.change_provider(new)
    ring.change_provider(new)
    home.provider.path.unlink()
    assert ring.get("a", "message") == b"one"


def test_readers_and_writers_go_on_while_it_compacts(home, ring):
    names = [new_ulid() for _ in range(30)]
    for name in names:
        ring.put(name, "message", name.encode())
    failures, stop = [], threading.Event()

    def work(seed: int) -> None:
        mine = home.keyring()
        try:
            n = 0
            while not stop.is_set():
                name = names[(n * 7 + seed) % len(names)]
                n += 1
                if n % 10 == 0:
                    mine.put(name, "message", name.encode())
                if mine.get(name, "message") != name.encode():
                    failures.append(name)
        except Exception as error:
            failures.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        ring.compact(NOW)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ring.get_many(names, "message") == {name: name.encode() for name in names}
    assert len(ring.periods.ids()) == 1


VICTIM = """
import os, signal, sys
from pathlib import Path
from nightbell.sealing.keyring import Keyring
from nightbell.sealing.provider import FileKeyProvider
location, keys, slot, at = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
count = 0
def step(name):
    global count
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
Keyring(location, keys / "period", FileKeyProvider(keys / "kek"), slot).compact("now", step)
"""


def test_killed_between_any_two_steps_every_living_entry_opens_and_the_next_compaction_ends_it(home, ring):
    names = [new_ulid() for _ in range(20)]
    for name in names:
        ring.put(name, "message", name.encode())
    killed = 0
    for at in range(30):
        done = subprocess.run(
            [sys.executable, "-c", VICTIM, home.location, str(home.keys), str(home.slot), str(at)],
            check=False,
        )
        assert ring.get_many(names, "message") == {name: name.encode() for name in names}
        assert len(ring.periods.ids()) <= 2
        _slot_opens_everything(home, ring, names)
        ring.put(names[0], "message", names[0].encode())
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
    assert killed >= 6
    assert len(ring.periods.ids()) == 1
    assert list(Path(home.period_dir).glob("*.dead")) == []


def test_a_destruction_that_was_cut_short_is_finished_by_the_next_compaction(home, ring):
    ring.put("a", "message", b"one")
    left = home.period_dir / "01ARZ3NDEKTSV4RRFFQ69G5FAV.dead"
    left.write_bytes(b"an old wrapped period key")
    ring.compact(NOW)
    assert not left.exists()


def _slot_opens_everything(home, ring, names) -> None:
    """Were the disk of the period keys lost at this moment, its slot would do."""
    place = home.root / new_ulid()
    ring.backup(home.root / "now.backup")
    copy = Keyring(str(place) + ".sqlite3", place, home.provider)
    copy.periods.adopt(home.slot)
    copy.restore(home.root / "now.backup")
    assert copy.get_many(names, "message") == {name: name.encode() for name in names}
    copy.close()


def test_a_full_disk_is_a_clear_answer_and_harms_nothing(tmp_path):
    provider = FileKeyProvider.create(tmp_path / "keys" / "kek")
    ring = Keyring(tmp_path / "keyring.sqlite3", tmp_path / "keys" / "period", provider)
    ring.put("a", "message", b"one")
    ring._entries.query("PRAGMA max_page_count = 1")
    with pytest.raises(KeyUnavailable, match="room"):
        ring.put("big", "secret", bytes(300_000))
    assert ring.get("a", "message") == b"one"
    ring._entries.query("PRAGMA max_page_count = 100000")
    ring.put("b", "message", b"two")
    assert ring.get("b", "message") == b"two"
    ring.close()


def test_a_file_that_is_no_database_is_a_clear_answer(tmp_path):
    (tmp_path / "keyring.sqlite3").write_bytes(b"not a database, certainly not" * 100)
    provider = FileKeyProvider.create(tmp_path / "keys" / "kek")
    with pytest.raises(KeyUnavailable):
        Keyring(tmp_path / "keyring.sqlite3", tmp_path / "keys" / "period", provider)


def test_files_are_for_the_owner_alone(home, ring):
    ring.put("a", "message", b"one")
    for folder, _, files in os.walk(home.root):
        for name in files:
            assert os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0, name
