"""The audit log: append-only by trigger, one row a read, no reading without it, any changed bit named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction
from tests.factories import House, make_message

from nightbell.audit import offline_verify, signing, verify
from nightbell.audit import service as audit
from nightbell.audit.checkpoint import Checkpoint
from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event, Log
from nightbell.core.clock import utc_now
from nightbell.mailbox import playing, service
from nightbell.people import audit_log
from nightbell.people.access import Forbidden
from nightbell.people.roles import Role

URL = "https://nightbell.test"


def _sql(statement: str, *values: object) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'nobody'",
        "DELETE FROM audit_event",
        "DELETE FROM audit_log",
        "UPDATE audit_log SET size = 0",
        "UPDATE audit_log SET size = size + 1",
        "INSERT INTO audit_event SELECT '01AAAAAAAAAAAAAAAAAAAAAAAA', seq + 7, at, actor, action, message, outcome,"
        " source, leaf, leaf_hash, log_id FROM audit_event WHERE seq = 0",
    ],
)
def test_it_refuses_every_change_but_the_next_leaf(house: House, statement: str) -> None:
    service.inbox(house.actor(Role.CLINICIAN))
    with pytest.raises(DatabaseError, match="append-only|next leaf|one leaf at a time|datatype|column"):
        _sql(statement)


def test_it_refuses_to_replace_or_truncate(house: House) -> None:
    service.inbox(house.actor(Role.CLINICIAN))
    event = Event.objects.order_by("seq").first()
    assert event is not None
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA recursive_triggers=OFF")
        statements = [
            f"INSERT OR REPLACE INTO audit_event (id, seq, at, actor, action, message, outcome, source, leaf, "
            f"leaf_hash, log_id) SELECT id, seq, at, 'nobody', action, message, outcome, source, leaf, leaf_hash, "
            f"log_id FROM audit_event WHERE id = '{event.id}'",
            f"INSERT OR REPLACE INTO audit_log (id, epoch, size, frontier) VALUES ('{event.log_id}', 1, 0, x'')",
        ]
    else:
        statements = ["TRUNCATE audit_event CASCADE", "TRUNCATE audit_log CASCADE"]
    for statement in statements:
        with pytest.raises(DatabaseError):
            _sql(statement)
    assert Event.objects.get(pk=event.id).actor == event.actor


def test_n_views_and_plays_give_exactly_n_rows(house: House) -> None:
    message = make_message(house.mailbox)
    actor = house.actor(Role.CLINICIAN)
    for _ in range(5):
        service.inbox(actor)
    for _ in range(4):
        service.message(actor, message.id)
    for _ in range(3):
        playing.sound(actor, message.id, 0, 1000)
        for start in (1000, 5000, 9000):  # Range requests under the same grant
            playing.sound(actor, message.id, start, 1000)
        playing.close_play(actor, message.id, 0.5)
    rows = {
        a: Event.objects.filter(action=a).count() for a in ("message:list", "message:view", "message:play")
    }
    assert rows == {"message:list": 5, "message:view": 4, "message:play": 3}
    ended = Event.objects.filter(action="message:play_ended")
    assert [json.loads(bytes(e.leaf))["detail"]["heard_ms"] for e in ended] == [500, 500, 500]


def test_it_shows_nothing_when_the_row_cannot_be_written(house: House) -> None:
    message = make_message(house.mailbox)
    actor = house.actor(Role.CLINICIAN)
    _sql(
        "CREATE TRIGGER closed BEFORE INSERT ON audit_event BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        if connection.vendor == "sqlite"
        else "CREATE TRIGGER closed BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
    )
    for read in (
        lambda: service.inbox(actor),
        lambda: service.message(actor, message.id),
        lambda: playing.sound(actor, message.id, 0, 100),
        lambda: service.note(actor, message.id, "hello"),
    ):
        with pytest.raises(AuditClosed):
            read()
    assert not message.notes.exists()


def test_it_names_the_entry_with_one_changed_bit(house: House, tmp_path: Path) -> None:
    make_message(house.mailbox)
    for _ in range(6):
        service.inbox(house.actor(Role.MANAGER))
    signing.checkpoint_all(URL, tmp_path, utc_now())
    assert all(r.ok for r in verify.all_logs(URL, tmp_path))
    for name in ("audit_event_no_update", "audit_event_fixed"):
        _sql(
            f"DROP TRIGGER IF EXISTS {name}"
            + (" ON audit_event" if connection.vendor == "postgresql" else "")
        )
    victim = Event.objects.get(log_id=house.practice.id, seq=3)
    leaf = bytearray(victim.leaf)
    leaf[20] ^= 1
    Event.objects.filter(pk=victim.pk).update(leaf=bytes(leaf))
    report = next(r for r in verify.all_logs(URL, tmp_path) if r.log == house.practice.id)
    assert not report.ok
    assert report.first_wrong == 3
    Event.objects.filter(pk=victim.pk).update(leaf=bytes(victim.leaf), actor="user:somebody")
    report = next(r for r in verify.all_logs(URL, tmp_path) if r.log == house.practice.id)
    assert report.first_wrong == 3
    assert "actor" in report.problems[0]


def test_any_changed_byte_of_a_kept_checkpoint_is_named(house: House, tmp_path: Path) -> None:
    for _ in range(2):
        service.inbox(house.actor(Role.MANAGER))
        signing.checkpoint_all(URL, tmp_path, utc_now())
    path = tmp_path / f"{house.practice.id}.txt"
    whole = path.read_bytes()
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])
        [report] = verify.all_logs(URL, tmp_path, house.practice.id)
        assert "anchor" in report.line(), at
        assert not report.ok, at


def test_a_log_of_which_checkpoints_tell_is_not_whole_when_it_is_empty(house: House, tmp_path: Path) -> None:
    service.inbox(house.actor(Role.MANAGER))
    signing.checkpoint_all(URL, tmp_path, utc_now())
    audit.open_log("0" * 26)
    signer = signing.signer(URL, "0" * 26)
    note = signer.sign(Checkpoint(signer.name, 1, bytes(32)))
    (tmp_path / f"{'0' * 26}.txt").write_bytes(note.encode() + signing.MARK)
    [report] = verify.all_logs(URL, tmp_path, "0" * 26)
    assert not report.ok


def test_it_exports_a_log_that_the_one_file_verifier_accepts(house: House, tmp_path: Path) -> None:
    make_message(house.mailbox)
    signing.checkpoint_all(URL, tmp_path, utc_now())
    verify.export(house.practice.id, tmp_path / "log.jsonl", URL, "os:tester", utc_now())
    assert offline_verify.main([str(tmp_path / "log.jsonl")]) == 0
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert offline_verify.main([str(tmp_path / "log.jsonl")]) == 1


def test_it_answers_by_user_and_date_range_and_logs_the_question(house: House) -> None:
    service.inbox(house.actor(Role.CLINICIAN))
    service.inbox(house.actor(Role.FRONT_DESK))
    page = audit_log.query(house.actor(Role.COMPLIANCE), user="clinician-ab12")
    assert {item.actor for item in page.items} == {"user:clinician-ab12"}
    nothing = audit_log.query(house.actor(Role.COMPLIANCE), until=house.practice.created_at)
    assert nothing.items == ()
    assert Event.objects.filter(action="audit:query", actor="user:compliance-ab12").count() == 2
    with pytest.raises(Forbidden):
        audit_log.query(house.actor(Role.CLINICIAN))
    assert Event.objects.get(action="audit:query", outcome="refused").actor == "user:clinician-ab12"


def test_it_names_the_gap_after_a_restore(house: House) -> None:
    audit.begin_epoch(house.practice.id, actor="os:root", now=utc_now())
    log = Log.objects.get(pk=house.practice.id)
    assert log.epoch == 2
    leaf = json.loads(bytes(Event.objects.get(log=log, seq=log.size - 1).leaf))
    assert (leaf["action"], leaf["epoch"], leaf["detail"]) == ("audit:epoch", 2, {"after_size": log.size - 1})
