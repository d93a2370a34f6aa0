"""What the first review and attack found, as tests: one bad thing must not close, stop or silence the rest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from tests.db.web.conftest import signed_in, spoken_message
from tests.factories import House, make_capture, make_message

from nightbell.audit import signing, verify
from nightbell.compliance import disposal
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.errors import RefusedStart, Stopping
from nightbell.core.ids import new_ulid
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.mailbox import epochs, intake, service, transcribe
from nightbell.mailbox.models import Message, Note, Number, SealingEpoch, Words
from nightbell.oncall.models import Schedule, Shift
from nightbell.people.models import Contact
from nightbell.people.roles import Role
from nightbell.sealing import spool
from nightbell.server import health, home, routing, tls
from nightbell.store import jobs, vault
from nightbell.store.models import Job


def _altered(sealed: bytes | memoryview | None) -> bytes:
    """The same bytes but for one bit of the last."""
    whole = bytes(sealed or b"")
    return whole[:-1] + bytes([whole[-1] ^ 1])


class Broken:
    """A recogniser that fails as it is told."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        raise self.error

    def warm(self) -> None: ...


def test_one_damaged_message_does_not_close_the_inbox(house: House) -> None:
    whole, altered, keyless = (make_message(house.mailbox) for _ in range(3))
    Message.objects.filter(pk=altered.id).update(caller_sealed=_altered(altered.caller_sealed))
    vault.keyring().destroy(keyless.id)
    rows = {row.id: row for row in service.inbox(house.actor(Role.CLINICIAN)).rows}
    assert rows[whole.id].callback_number
    for broken in (altered.id, keyless.id):
        assert rows[broken].callback_number is None
        assert [reason.kind for reason in rows[broken].reasons] == ["damaged"]
    assert signed_in(house.people[Role.CLINICIAN]).get("/").status_code == 200


def test_one_damaged_note_does_not_close_its_message(house: House) -> None:
    message, clinician = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    for text in ("first", "second"):
        service.note(clinician, message.id, text)
    note = Note.objects.order_by("at", "id").first()
    assert note is not None
    Note.objects.filter(pk=note.pk).update(text_sealed=_altered(note.text_sealed))
    notes = service.message(clinician, message.id).notes
    assert notes is not None
    assert ["damaged" in n.text for n in notes] == [True, False]


@pytest.mark.parametrize("seconds", ["²", "1e400", "-1", "nan", "٣", "1" * 40, ""])
def test_a_wrong_figure_of_what_was_heard_counts_as_nothing(house: House, seconds: str) -> None:
    message = spoken_message(house)
    answer = signed_in(house.people[Role.CLINICIAN]).post(f"/m/{message.id}/heard", {"seconds": seconds})
    assert answer.status_code == 204


def test_an_odd_charset_is_a_bad_request(house: House) -> None:
    message = spoken_message(house)
    answer = signed_in(house.people[Role.CLINICIAN]).post(
        f"/m/{message.id}/note", b"text=x", content_type="application/x-www-form-urlencoded; charset=utf-7"
    )
    assert answer.status_code == 400


def test_what_is_no_file_in_the_spool_stops_nothing(house: House, tmp_path: Path) -> None:
    folder = load().spool
    pipe, link, place = (folder / f"{new_ulid()}.cap" for _ in range(3))
    os.mkfifo(pipe)
    (tmp_path / "secret").write_bytes(b"x" * 9000)
    link.symlink_to(tmp_path / "secret")
    place.mkdir()
    try:
        path = make_capture(house.mailbox)
        assert spool.waiting(folder) == [path]
        assert epochs.in_spool(folder)
        taken = intake.take_in(path, utc_now())
        assert taken is not None and taken.result == "stored"
    finally:
        pipe.unlink()
        link.unlink()
        place.rmdir()


def test_keys_that_are_away_for_hours_do_not_cost_the_words(house: House) -> None:
    message = make_message(house.mailbox)
    now = utc_now()
    for round_ in range(jobs.MAX_ATTEMPTS * 2):
        transcribe.run_one(
            Broken(vault.KeysAway("keys")), lambda at=now + timedelta(minutes=round_): at, Log("t")
        )  # type: ignore[misc]
    message.refresh_from_db()
    assert message.words == Words.PENDING
    assert Job.objects.get(key=message.id).ended_at is None


def test_a_worker_that_is_stopped_counts_no_attempt_against_a_message(house: House) -> None:
    message, now = make_message(house.mailbox), utc_now()
    for _ in range(jobs.MAX_ATTEMPTS + 1):
        assert transcribe.run_one(Broken(Stopping("the engine")), lambda: now, Log("t"))  # type: ignore[arg-type]
    job = Job.objects.get(key=message.id)
    assert (job.attempts, job.ended_at) == (0, None)


@dataclass
class Disposing:
    """An engine during whose work the message is disposed of."""

    message: Message
    ends: str

    def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
        disposal.dispose(self.message, "user:manager", "request", utc_now())
        if self.ends == "badly":
            raise RuntimeError("x")
        return Hearing("en", (Word("chest", 0.0, 0.5, 0.9), Word("pain", 0.5, 1.0, 0.9)), "test")

    def warm(self) -> None: ...


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_words_do_not_come_back_to_a_message_that_is_disposed_of(house: House, ends: str) -> None:
    message = make_message(house.mailbox)
    for hour in range(jobs.MAX_ATTEMPTS):
        later = utc_now() + timedelta(hours=hour)
        transcribe.run_one(Disposing(message, ends), lambda at=later: at, Log("t"))  # type: ignore[misc,arg-type]
    message.refresh_from_db()
    assert (message.state, message.transcript_sealed, message.reasons_sealed) == ("disposed", None, None)
    assert (message.urgency, message.needs_alert) == ("routine", False)


def test_an_engine_that_breaks_in_a_new_way_is_given_up_and_left_to_ears(house: House) -> None:
    message = make_message(house.mailbox)
    now = utc_now()
    for round_ in range(jobs.MAX_ATTEMPTS):
        transcribe.run_one(Broken(RuntimeError("x")), lambda at=now + timedelta(hours=round_): at, Log("t"))  # type: ignore[misc]
    message.refresh_from_db()
    assert (message.words, message.urgency) == (Words.FAILED, "review")


def test_a_capture_that_cannot_be_read_yet_keeps_its_epoch(house: House) -> None:
    path = make_capture(house.mailbox)
    epoch = SealingEpoch.objects.get()
    tray = path.parent.parent / "unreadable"
    tray.mkdir(exist_ok=True)
    kept = path.rename(tray / path.name)
    try:
        later = utc_now() + timedelta(days=2)
        epochs.begin(later - timedelta(days=1), "system:test")
        assert epochs.destroy_drained(load().spool, {"another"}, later, "system:test") == 0
        assert vault.keyring().has(epoch.id)
    finally:
        kept.unlink()


def test_the_line_promises_a_team_only_when_somebody_can_be_told(house: House) -> None:
    epochs.begin(utc_now(), "system:test")

    def promised(channels: bool = True) -> bool:
        return bool(routing.payload(utc_now(), channels)["lines"][house.practice.id]["team"])

    assert promised()
    assert not promised(channels=False)
    Schedule.objects.update(fallback=None)
    assert promised()
    Shift.objects.all().delete()
    assert promised()  # a manager is told when nobody else can be
    Contact.objects.update(ended_at=utc_now())
    assert not promised()
    Schedule.objects.update(fallback_email="boss@ab12.example")
    assert promised()


def test_two_spellings_of_a_number_are_one(house: House) -> None:
    assert Number.objects.create(dialled="+1 (503) 555-0188", mailbox=house.mailbox).dialled == "15035550188"


def test_verifying_takes_no_lock_and_is_not_fooled_by_what_is_added_meanwhile(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.inbox(house.actor(Role.CLINICIAN))
    signing.checkpoint_all("https://nightbell.test", tmp_path, utc_now())
    plain = verify._belies

    def busy(event: object) -> str:
        if getattr(event, "seq", 1) == 0:
            service.inbox(house.actor(Role.CLINICIAN))
            signing.checkpoint_all("https://nightbell.test", tmp_path, utc_now())
        return plain(event)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "_belies", busy)
    assert [r.problems for r in verify.all_logs("https://nightbell.test", tmp_path)] == [(), ()]


def test_a_new_home_is_not_compacted_on_its_first_day(house: House) -> None:
    epochs.begin(utc_now(), "system:test")
    ring = vault.keyring()
    before = ring.last_compaction()
    if before is None:
        assert not disposal.compact_if_due(utc_now())
    assert not disposal.compact_if_due(utc_now())
    assert ring.last_compaction() == before


def test_a_server_key_that_is_there_is_kept(tmp_path: Path) -> None:
    tls.make(tmp_path, tmp_path, ["localhost"], utc_now())
    key = (tmp_path / "server.key").read_bytes()
    (tmp_path / "ca.pem").unlink()
    tls.make(tmp_path, tmp_path, ["localhost"], utc_now())
    assert (tmp_path / "server.key").read_bytes() == key
    (tmp_path / "server.key").write_text("not a key")
    with pytest.raises(RefusedStart, match=r"server\.key"):
        tls.make(tmp_path, tmp_path, ["localhost"], utc_now())


def test_a_home_is_held_by_one(house: House) -> None:
    with home.alone(load(), "worker"):
        with pytest.raises(RefusedStart, match="another"), home.alone(load(), "worker"):
            pass
        with home.alone(load(), "serve"):
            pass
    with home.alone(load(), "worker"):
        pass


@pytest.mark.parametrize(
    ("change", "red"),
    [
        ({}, []),
        ({"loops": {"intake": "OSError"}}, ["work"]),
        ({"trouble": {"compaction": "Tampered"}}, ["work"]),
        ({"phones": [{"age_s": 1, "snapshot_age": 900}]}, ["phone"]),
        ({"phones": []}, ["phone"]),
        ({"standing_still": 1}, ["alerts"]),
    ],
)
def test_health_is_red_for_what_does_not_go_on(
    house: House, change: dict[str, object], red: list[str]
) -> None:
    good: dict[str, object] = {
        "keys": "here", "audit": "open", "speech": "ready", "standing_still": 0,
        "phones": [{"age_s": 1, "snapshot_age": 1}], "loops": {"intake": "ok"}, "trouble": {},
    }  # fmt: skip
    health.write(load(), good | change, utc_now())
    judged = health.read(load(), utc_now())
    assert [name for name, check in judged["checks"].items() if not check["ok"]] == red


def test_health_is_red_before_a_disk_is_full(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs("/")
    sizes = (disk.f_bsize, disk.f_frsize, 1000, 40, 40, *tuple(disk)[5:])
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(sizes))
    health.write(load(), {}, utc_now())
    check = health.read(load(), utc_now())["checks"]["disk"]
    assert (check["ok"], check["says"]) == (False, "database, spool, data: nearly full, make room (4% free)")
