"""Risk 2: seal, intake, back up, erase, compact, restore; then whoever has everything that still exists tries it."""

import itertools
import json
import secrets
import shutil
from pathlib import Path

import pytest

from nightbell.core.capture import AudioPacket, CaptureMeta, Codec, End, EndReason
from nightbell.core.ids import new_ulid
from nightbell.sealing import epochs
from nightbell.sealing.blobs import FolderBlobs
from nightbell.sealing.capture import CaptureSealer, open_capture, peek
from nightbell.sealing.errors import KeyUnavailable, NoSuchKey, SealError, StaleKeyring
from nightbell.sealing.fields import Place, open_field, seal_field
from nightbell.sealing.keyring import Keyring, _read_backup, _unwrap
from nightbell.sealing.periods import Periods
from nightbell.sealing.playback import PlaybackReader, seal_playback
from nightbell.sealing.provider import FileKeyProvider
from nightbell.sealing.spool import SpoolFile, claimed, waiting

NOW = "2026-11-24T03:00:00.000Z"
PRACTICE = new_ulid()


class World:
    """An installation with one practice, and a cellar where every backup is kept for ever."""

    def __init__(self, home, ring: Keyring) -> None:
        self.home, self.ring = home, ring
        self.blobs, self.spool = FolderBlobs(home.root / "blobs"), home.root / "spool"
        self.cellar = home.root / "cellar"
        self.spool.mkdir()
        self.blobs.root.mkdir()
        self.cellar.mkdir()
        self.fields: dict[str, bytes] = {}
        self.epoch = self.new_epoch()

    def new_epoch(self):
        self.epoch, private = epochs.new_epoch()
        self.ring.put(self.epoch.id, "epoch", private)
        return self.epoch

    def call(self) -> str:
        meta = CaptureMeta(
            new_ulid(), PRACTICE, new_ulid(), "+15550100", "+15550199", NOW, "en", Codec.PCMU, 1
        )
        sealer, file = CaptureSealer(self.epoch, meta, 0.0), SpoolFile.create(self.spool, meta.capture)
        file.append(sealer.header)
        for n in range(60):
            file.append(sealer.add(AudioPacket(n * 160, secrets.token_bytes(160)), n / 50))
        file.append(sealer.finish(End(1200, EndReason.POUND), 1.2))
        file.finish()
        return meta.capture

    def intake(self) -> None:
        for path in waiting(self.spool):
            with claimed(path):
                data = path.read_bytes()
                capture = open_capture(data, self.ring.get(peek(data)[0], "epoch"))
                name, key = capture.meta.capture, secrets.token_bytes(32)
                self.ring.put(name, "message", key)
                sound = b"".join(packet.payload for packet in capture.packets)
                self.blobs.put(PRACTICE, name, seal_playback(key, name.encode(), sound))
                self.fields[name] = seal_field(key, place(name), capture.meta.caller.encode())
                path.unlink()

    def back_up_data(self, name: str) -> None:
        shutil.copytree(self.home.root / "blobs", self.cellar / name / "blobs", dirs_exist_ok=True)
        shutil.copytree(self.spool, self.cellar / name / "spool", dirs_exist_ok=True)

    def back_up_keyring(self, name: str) -> Path:
        self.ring.backup(self.cellar / f"{name}.keyring")
        return self.cellar / f"{name}.keyring"


def place(name: str) -> Place:
    return Place("message", "caller", name, PRACTICE)


def opens_message(blobs: FolderBlobs, name: str, key: bytes) -> bool:
    try:
        size = blobs.size(PRACTICE, name)
        opened = PlaybackReader(
            key, name.encode(), lambda at, n: blobs.read_range(PRACTICE, name, at, n), size
        )
        return len(opened.read()) == 60 * 160
    except (SealError, ValueError):
        return False


def opens_field(sealed: bytes, name: str, key: bytes) -> bool:
    try:
        return open_field(key, place(name), sealed) == b"+15550199"
    except (SealError, ValueError):
        return False


def opens_capture(data: bytes, key: bytes) -> bool:
    try:
        return len(open_capture(data, key).packets) > 0
    except (SealError, ValueError):
        return False


def every_key(world: World, backups: list[Path]) -> set[bytes]:
    """All that still exists: the provider's key, period keys (folder and slot), and every entry of every
    backup and of the keyring itself that any of them opens."""
    slot = Periods(world.cellar / new_ulid(), world.home.provider)
    if world.home.slot.exists():
        slot.adopt(world.home.slot)
    roots = {world.home.provider.read()}
    for periods in (world.ring.periods, slot):
        roots |= {periods.open(period) for period in periods.ids()}
    entries = list(world.ring._rows("", ()))
    for path in backups:
        entries += _read_backup(path)[1]
    found = set(roots)
    for root, entry in itertools.product(roots, entries):
        try:
            found.add(_unwrap(root, entry))
        except SealError:
            continue
    return found


def loot(world: World, backups: list[Path]) -> set[tuple[str, str]]:
    """(what, id) of everything that any key opens in any copy of the data."""
    keys, got = every_key(world, backups), set()
    copies = [world.home.root, *(path for path in world.cellar.iterdir() if (path / "spool").is_dir())]
    for copy, key in itertools.product(copies, keys):
        store = FolderBlobs(copy / "blobs")
        for name in store.ids(PRACTICE):
            if opens_message(store, name, key):
                got.add(("sound", name))
        for path in (copy / "spool").iterdir():
            if opens_capture(path.read_bytes(), key):
                got.add(("capture", path.stem))
    for (name, sealed), key in itertools.product(world.fields.items(), keys):
        if opens_field(sealed, name, key):
            got.add(("field", name))
    return got


@pytest.fixture
def world(home, ring):
    return World(home, ring)


@pytest.fixture
def lived(world):
    """Two messages, every backup ever made, one message erased, its epoch over, compacted."""
    erased, living = world.call(), world.call()
    world.back_up_data("night")
    kept = [world.back_up_keyring("night")]
    world.intake()
    world.back_up_data("day")
    kept.append(world.back_up_keyring("day"))
    old_epoch = world.epoch.id
    world.new_epoch()
    kept.append(world.back_up_keyring("epoch"))
    before = loot(world, kept)
    assert {("sound", erased), ("field", erased), ("capture", erased)} <= before, "the thief knows his trade"
    wrapped = [row[2] for row in world.ring._rows("WHERE id = ?", (erased,))]
    world.ring.destroy(erased)
    world.blobs.delete(PRACTICE, erased)
    world.ring.destroy(old_epoch)
    kept.append(world.back_up_keyring("destroyed"))
    return world, erased, living, kept, wrapped


def test_before_compaction_an_old_keyring_backup_still_opens_which_is_why_there_is_compaction(lived):
    world, erased, _, kept, _ = lived
    assert ("sound", erased) in loot(world, kept)


def test_after_compaction_nothing_that_exists_opens_the_erased_and_the_living_still_opens(lived):
    world, erased, living, kept, _ = lived
    world.ring.compact(NOW)
    kept.append(world.back_up_keyring("compacted"))
    assert loot(world, kept) == {("sound", living), ("field", living)}
    fresh = world.call()
    world.back_up_data("later")
    assert loot(world, kept) == {("sound", living), ("field", living), ("capture", fresh)}
    world.intake()
    with pytest.raises(NoSuchKey):
        world.ring.get(erased, "message")


def test_no_restore_in_any_combination_brings_the_erased_back(lived):
    world, erased, living, kept, _ = lived
    world.ring.compact(NOW)
    kept.append(world.back_up_keyring("compacted"))
    for number, (backup, data) in enumerate(itertools.product(kept, ("night", "day"))):
        where = world.home.root / f"restored{number}"
        copy = Keyring(f"{where}.sqlite3", where, world.home.provider)
        copy.periods.adopt(world.home.slot)
        copy.restore(backup, partial=True)
        store = FolderBlobs(world.cellar / data / "blobs")
        for kind in ("message", "epoch"):
            for id in copy.ids(kind):
                try:
                    key = copy.get(id, kind)
                except KeyUnavailable:
                    continue
                assert not opens_message(store, erased, key)
                for path in (world.cellar / "night" / "spool").iterdir():
                    assert not opens_capture(path.read_bytes(), key)
        if backup == kept[-1]:
            assert opens_message(
                FolderBlobs(world.cellar / "day" / "blobs"), living, copy.get(living, "message")
            )
        copy.close()


def test_restoring_in_place_and_compacting_again_brings_nothing_back(lived):
    world, erased, living, kept, _ = lived
    world.ring.compact(NOW)
    newest = world.back_up_keyring("compacted")
    for backup in kept:
        with pytest.raises(StaleKeyring):
            world.ring.restore(backup)
        world.ring.restore(backup, partial=True)
        # The newest backup needs the period key that is there now: a compaction must not take it.
        with pytest.raises(StaleKeyring):
            world.ring.compact(NOW)
        assert not {what for what in loot(world, [*kept, newest]) if what[1] == erased}
        world.ring.restore(newest)
        assert world.ring.get(living, "message")
    world.ring.restore(kept[0], partial=True)
    assert world.ring.forget_unopenable()
    world.ring.compact(NOW)
    assert not {what for what in loot(world, [*kept, newest]) if what[1] == erased}


def test_data_and_keyring_without_the_keys_folder_open_nothing(lived):
    world, _, _, kept, _ = lived
    world.home.keys.rename(world.home.root / "gone")
    stranger = FileKeyProvider.create(world.home.root / "other" / "kek")
    lost = Keyring(world.home.location, world.home.root / "other" / "period", stranger)
    for kind in ("message", "epoch"):
        for id in lost.ids(kind):
            with pytest.raises(KeyUnavailable):
                lost.get(id, kind)
    for path in kept:
        rows = _read_backup(path)[1]
        assert rows
        assert all(b"period" not in row[2] for row in rows)
    lost.close()


def test_the_erased_entry_is_gone_from_the_keyrings_own_files(lived):
    world, _, _, _, wrapped = lived
    if world.home.location.startswith("postgres"):
        # PostgreSQL keeps old bytes in its own log: there the destroyed period key alone does it.
        assert all(row[2] not in wrapped for row in world.ring._rows("", ()))
        return
    files = [Path(world.home.location + end) for end in ("", "-wal")]
    assert wrapped
    world.ring.compact(NOW)
    held = b"".join(path.read_bytes() for path in files if path.exists())
    assert all(piece not in held for piece in wrapped)
    living = [row[2] for row in world.ring._rows("", ())]
    assert all(piece in held for piece in living), "the scan can see an entry that is there"


def test_destroyed_period_keys_are_gone_from_their_folder_and_slot(lived):
    world, *_ = lived
    old = [path.read_bytes() for path in world.home.period_dir.glob("*.period")]
    world.ring.compact(NOW)
    places = [*world.home.keys.rglob("*"), world.home.slot]
    held = b"".join(path.read_bytes() for path in places if path.is_file())
    slot = json.loads(world.home.slot.read_bytes())
    assert old
    assert all(piece not in held for piece in old)
    assert list(slot["periods"]) == world.ring.periods.ids()


def test_a_destroyed_period_key_is_overwritten_where_it_lay(lived):
    world, *_ = lived
    other_names = []
    for path in world.home.period_dir.glob("*.period"):
        other_names.append(world.home.root / f"{path.stem}.link")
        other_names[-1].hardlink_to(path)
    assert any(other_names[0].read_bytes())
    world.ring.compact(NOW)
    assert not any(any(path.read_bytes()) for path in other_names)
