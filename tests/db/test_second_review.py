"""What the second review found, as tests: nothing that went wrong once may stay wrong."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.cache import cache
from tests.db.hashing import QuickHasher
from tests.db.test_escalation import Night, Pager
from tests.db.web.conftest import signed_in
from tests.factories import House, make_message

from nightbell.audit import signing
from nightbell.audit import verify as verify_logs
from nightbell.audit.models import Event
from nightbell.compliance import disposal
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.durable import write_file
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError, Receipt, Rendered
from nightbell.mailbox import service
from nightbell.mailbox.models import Message, State
from nightbell.oncall import escalation
from nightbell.oncall.models import Alert, Attempt, AttemptState
from nightbell.people import tokens
from nightbell.people.models import Practice, User
from nightbell.people.practices import BadPerson, add_practice, add_user, lock_out, start_anew
from nightbell.people.roles import Role
from nightbell.phone.snapshot import verify
from nightbell.server import demo, health, home, routing, supervisor
from nightbell.server.worker import Worker
from nightbell.store import jobs
from nightbell.store.models import Job

OS = "os:root"


@pytest.mark.parametrize("damage", [b"", b'{"payload": "AA', None])
def test_the_file_that_a_phone_starts_from_is_written_again(house: House, damage: bytes | None) -> None:
    now, folder = utc_now(), load().home / "phone"
    home.prepare_database(load(), now)
    routing.publish(load(), now)
    first = folder / "snapshot.json"
    first.unlink() if damage is None else first.write_bytes(damage)
    routing.publish(load(), now)
    assert house.practice.number in verify(first.read_bytes(), (folder / "trust.pub").read_bytes()).numbers


class Breaking:
    """A channel with a fault that nobody thought of."""

    name = "sms"

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        raise UnicodeEncodeError("ascii", "ü", 0, 1, "not in range")


def test_a_channel_that_breaks_gives_the_next_its_turn(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    pager = Pager()
    night = Night(Breaking(), pager)  # type: ignore[arg-type]
    night.tick()
    assert len(pager.told) == 1


def test_a_channel_that_breaks_for_ever_is_called_failed_and_seen(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Night(Breaking())  # type: ignore[arg-type]
    for _ in range(60):
        night.tick(10)
    assert Attempt.objects.filter(state=AttemptState.FAILED).exists()
    assert max(Attempt.objects.values_list("tries", flat=True)) <= escalation.MAX_TRIES
    assert escalation.standing_still(night.now) == 1


def test_what_a_locked_out_person_owned_rings_again(house: House) -> None:
    urgent, routine = make_message(house.mailbox, urgent=True), make_message(house.mailbox)
    clinician = house.actor(Role.CLINICIAN)
    for message in (urgent, routine):
        service.acknowledge(clinician, message.id)
    lock_out(clinician.user, OS, utc_now())
    assert service.give_back_all(clinician.user, OS, utc_now()) == 2
    rows = Message.objects.in_bulk([urgent.id, routine.id])
    assert {(r.state, r.owner_id) for r in rows.values()} == {(State.NEW, None)}
    assert (rows[urgent.id].needs_alert, rows[routine.id].needs_alert) == (True, False)
    assert Event.objects.filter(action="message:release", actor=OS).count() == 2


def test_a_message_reopened_for_who_is_locked_out_is_anybodys(house: House) -> None:
    message = make_message(house.mailbox, urgent=True)
    clinician = house.actor(Role.CLINICIAN)
    service.acknowledge(clinician, message.id)
    service.close(clinician, message.id, "reached")
    lock_out(clinician.user, OS, utc_now())
    service.reopen(house.actor(Role.MANAGER), message.id)
    message.refresh_from_db()
    assert (message.state, message.owner_id, message.needs_alert) == (State.NEW, None, True)


def test_a_flood_does_not_wash_a_limit_out(house: House) -> None:
    cache.set("limit", 1)
    for number in range(400):
        cache.set(f"a-flood-{number}", 1)
    assert cache.get("limit") == 1


def test_a_part_that_cannot_be_started_is_tried_again_and_ends_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise BlockingIOError("no process left")

    monkeypatch.setattr(subprocess, "Popen", full)
    keeper = supervisor.Supervisor(load(), Log("test"))
    keeper.parts = supervisor.parts(load())
    keeper._watch()
    assert all(part.process is None and part.next_start > 0 for part in keeper.parts)


STORM = """
import os, signal, sys, threading, time
from nightbell.server.supervisor import Stop
for round in range(400):
    stop = Stop()
    stop.on_signals()
    other = threading.Thread(target=lambda: (time.sleep(round % 20 * 1e-5), os.kill(os.getpid(), signal.SIGTERM)))
    other.start()
    began = time.monotonic()
    while not stop.wait(20):
        pass
    assert time.monotonic() - began < 5, round
    other.join()
    os.close(stop._end), os.close(stop._start)
"""


def test_a_stop_is_heard_at_whatever_moment_the_signal_comes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORM], check=False, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_refused_start_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    wrong = dataclasses.replace(load(), home=tmp_path / "home", keys=tmp_path / "home" / "keys")
    with pytest.raises(RefusedStart, match="NIGHTBELL_KEYS"):
        home.make(wrong, home.REAL, utc_now())
    assert home.make(dataclasses.replace(wrong, keys=tmp_path / "keys"), home.REAL, utc_now())


def test_a_demo_whose_making_was_cut_short_is_made_anew(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    written = load().home / "demo.json"

    def then_killed(path: Path, data: bytes) -> None:
        write_file(path, data)
        raise KeyboardInterrupt

    home.prepare_database(load(), utc_now())
    monkeypatch.setattr(demo, "write_file", then_killed)
    try:
        with pytest.raises(KeyboardInterrupt):
            demo.fill(load(), utc_now())
        monkeypatch.undo()
        demo.fill(load(), utc_now())
        ids = {p["id"] for p in json.loads(written.read_text("utf-8"))["practices"]}
        assert ids == set(Practice.objects.values_list("pk", flat=True))
        _log_in_hashes_slowly(json.loads(written.read_text("utf-8"))["users"][0])
        written.unlink()
        with pytest.raises(RefusedStart, match=r"demo\.json is gone"):
            demo.fill(load(), utc_now())
    finally:
        written.unlink(missing_ok=True)


def _log_in_hashes_slowly(person: dict[str, str]) -> None:
    """A demo's password is hashed in one round until somebody comes in with it."""
    rounds = [int(User.objects.get(login=person["login"]).password.split("$")[1])]
    assert not User.objects.get(login=person["login"]).check_password("another")
    assert User.objects.get(login=person["login"]).check_password(person["password"])
    rounds.append(int(User.objects.get(login=person["login"]).password.split("$")[1]))
    assert rounds == [1, QuickHasher.iterations]


def test_a_clean_up_that_failed_is_tried_again_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> int:
        raise OSError("the database is away")

    worker = SimpleNamespace(next_sweep=utc_now(), config=load(), log=Log("test"))
    monkeypatch.setattr(disposal, "finish_begun", away)
    with pytest.raises(OSError, match="away"):
        Worker._sweep(worker)  # type: ignore[arg-type]
    assert worker.next_sweep <= utc_now()
    monkeypatch.undo()
    Worker._sweep(worker)  # type: ignore[arg-type]
    assert worker.next_sweep > utc_now()


def test_what_a_clock_that_ran_ahead_put_off_is_done_now(house: House) -> None:
    ahead = timedelta(days=400)
    make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.tick()
    Alert.objects.update(next_at=night.now + ahead)
    night.tick(1)
    assert len(night.addresses) == 2
    Attempt.objects.update(state=AttemptState.PENDING, retry_at=night.now + ahead)
    night.tick(1)
    assert Attempt.objects.filter(state=AttemptState.PENDING).count() == 0
    Job.objects.update(run_at=night.now + ahead)
    assert jobs.claim(["transcribe"], night.now, timedelta(seconds=45)) is not None


def test_without_any_channel_it_is_said_at_once_and_health_sees_it(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Night(Pager())
    night.sender = escalation.Sender({}, "https://bell.example")
    night.tick()
    assert not Attempt.objects.filter(state=AttemptState.PENDING).exists()
    assert set(Attempt.objects.values_list("answer", flat=True)) == {"no channel is set up"}
    assert escalation.standing_still(night.now) == 1


def test_a_try_that_goes_on_for_over_a_minute_is_seen(house: House) -> None:
    make_message(house.mailbox, urgent=True)
    night = Night(Pager(problem=ChannelError("the mail server was not reached")))
    night.tick()
    assert escalation.standing_still(night.now) == 0
    assert escalation.standing_still(night.now + timedelta(seconds=61)) >= 1


def test_a_silent_worker_vouches_for_nothing(house: House) -> None:
    good = {"keys": "here", "audit": "open", "phones": [{"age_s": 1, "snapshot_age": 1}], "channels": []}
    now = utc_now()
    health.write(load(), good, now)
    assert not health.read(load(), now)["checks"]["notify"]["ok"]
    later = health.read(load(), now + timedelta(seconds=31))
    assert (later["ok"], set(later["checks"])) == (False, {"worker", "spool", "disk"})


def test_a_reset_revokes_tokens(house: House) -> None:
    user = house.people[Role.DISPATCHER]
    bearer = tokens.add(user, "script", OS, utc_now())
    start_anew(user, "another long password", OS, utc_now())
    assert tokens.authenticate(bearer, utc_now(), "") is None


def test_a_log_that_is_gone_is_missed(house: House, tmp_path: Path) -> None:
    make_message(house.mailbox)
    signing.checkpoint_all("https://bell.example", tmp_path, utc_now())
    gone = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
    (tmp_path / f"{house.practice.id}.txt").rename(tmp_path / f"{gone}.txt")
    other = "01BX5ZZKBKACTAV9WEVGEMMVS0"
    found = {r.log: r for r in verify_logs.all_logs("https://bell.example", tmp_path, expected=[other])}
    assert "the whole log is gone; 1 checkpoints" in found[gone].line()
    assert (found[other].ok, found[house.practice.id].ok) == (False, True)
    assert [r.log for r in verify_logs.all_logs("https://bell.example", tmp_path, gone)] == [gone]


@pytest.mark.parametrize("filters", ["from=garbage", "message=zz", "to=9999-12-31"])
def test_a_filter_that_is_not_understood_exports_nothing(house: House, filters: str) -> None:
    answer = signed_in(house.people[Role.COMPLIANCE]).get(f"/audit/export?{filters}")
    assert answer.status_code == 422
    assert b"seq,time" not in answer.content


@pytest.mark.parametrize("name", ["Evil\r\nBcc: x@evil.example", "a\x00b"])
def test_a_name_with_line_breaks_is_no_name(house: House, name: str) -> None:
    with pytest.raises(BadPerson):
        add_user(house.practice, "evil", name, "clinician", "", "correct horse battery", OS, utc_now())
    with pytest.raises(BadPerson):
        add_practice(name, "America/Chicago", "5550199", OS, utc_now())
