"""A clip recorded by telephone: asked for by number, kept once, whatever dies, and nobody is woken for it."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any
from wave import open as open_wave

import pytest
from django.db import OperationalError
from tests.factories import House, make_message, tone

from nightbell.audit.errors import AuditClosed
from nightbell.audit.models import Event
from nightbell.compliance import disposal
from nightbell.core import faults
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.flow.line import Line
from nightbell.line import service, takeup
from nightbell.line.models import Clip, TryNumber
from nightbell.mailbox import epochs, third
from nightbell.mailbox import service as mailbox
from nightbell.mailbox.models import Message
from nightbell.people.access import Forbidden
from nightbell.people.roles import Role
from nightbell.server import routing
from nightbell.store.models import Job
from nightbell.web import gave_up

LOG = Log("test", StringIO())
NAME = "practice-name"


class Died(BaseException):
    """As `kill -9` would: nothing of ours catches it."""


def number_of(house: House, clip: str = NAME) -> TryNumber:
    return service.record_number(house.actor(Role.MANAGER), clip, "en")


def spoken(seconds: float = 2.0) -> bytes:
    """Louder and softer, as speech is."""
    samples = array("h", tone(seconds, 300))
    return array("h", (s * (2 + at // 800 % 3) // 4 for at, s in enumerate(samples))).tobytes()


def marks_of(number: TryNumber, *more: tuple[float, str], keep: bool = True) -> list[tuple[float, str]]:
    """As the phone sets them: the number without its hyphen."""
    named = f"studio:{number.dialled.replace('-', '')}"
    kept = [(9.0, "studio-keep")] if keep else []
    return [(0, named), (0, "recording"), (0, "part:message"), *more, *kept]


def call(house: House, number: TryNumber, keep: bool = True, pcm: bytes | None = None) -> Message:
    return make_message(
        house.mailbox, pcm=spoken() if pcm is None else pcm, marks=marks_of(number, keep=keep)
    )


def take_up(minutes: int = 0) -> bool:
    return takeup.run_one(lambda: utc_now() + timedelta(minutes=minutes), LOG)


def seconds(clip: Clip) -> float:
    with open_wave(str(load().home / "phone" / "clips" / clip.sha256)) as wav:
        return wav.getnframes() / wav.getframerate()


def test_the_number_leads_to_a_line_that_records_that_clip(house: House) -> None:
    epochs.begin(utc_now(), "system:test")
    number = number_of(house, "own-greeting-closed")
    trial = service.try_number(house.actor(Role.MANAGER))
    given = json.loads(json.dumps(routing.payload(utc_now())))
    entry = given["lines"][given["numbers"][number.dialled]["line"]]
    line = Line.from_dict(entry)
    assert (line.studio, line.language, line.test, line.flow) == ("own-greeting-closed", "en", True, 0)
    draft = Line.from_dict(given["lines"][given["numbers"][trial.dialled]["line"]])
    assert (draft.studio, draft.test) == ("", True)
    live = Line.from_dict(given["lines"][house.practice.id])
    assert (live.studio, live.test, live.flow) == ("", False, 1)
    late = routing.payload(utc_now() + timedelta(minutes=16))
    assert list(late["lines"]) == [house.practice.id]


def test_a_number_is_asked_for_by_managers_for_places_that_there_are(house: House) -> None:
    with pytest.raises(Forbidden):
        service.record_number(house.actor(Role.CLINICIAN), NAME, "en")
    for clip, language in (("no-such-place", "en"), (NAME, "fr"), ("", "en")):
        with pytest.raises(service.BadClip):
            service.record_number(house.actor(Role.MANAGER), clip, language)
    first = number_of(house)
    second = number_of(house)
    first.refresh_from_db()
    assert first.expires_at <= second.made_at, "one at a time"
    trial = service.try_number(house.actor(Role.MANAGER))
    assert (trial.clip, trial.language) == ("", "")
    assert TryNumber.objects.filter(pk=second.pk, expires_at__gt=utc_now()).exists()
    later = house.actor(Role.MANAGER, utc_now() + timedelta(days=40))
    service.try_number(later)
    assert not TryNumber.objects.exclude(clip="").exists()


def test_a_kept_recording_becomes_a_clip(house: House) -> None:
    number = number_of(house)
    message = call(house, number)
    assert (message.kind, message.state, message.urgency) == ("message", "new", "routine")
    assert message.tags == ["test", f"studio:{number.dialled}"]
    assert (message.needs_alert, message.words) == (False, "empty")
    assert list(Job.objects.values_list("kind", flat=True)) == ["studio"], "nothing is transcribed"
    assert take_up()
    assert Job.objects.get().outcome == "done"
    assert not take_up(minutes=60)
    [clip] = service.clips(house.actor(Role.MANAGER))
    assert (clip.clip, clip.language, clip.source) == (NAME, "en", "phone")
    assert clip.made_by == house.people[Role.MANAGER]
    assert 1.8 < seconds(clip) < 2.3
    message.refresh_from_db()
    assert (message.state, message.tags) == ("closed", ["test", "studio"])
    assert message.closed_at is not None
    found = service.recorded(house.actor(Role.MANAGER), NAME, "en")
    assert found is not None
    assert (found.kept, found.trouble) == (clip, "")
    assert Event.objects.get(action="line:clip").message == message.id
    assert service.draft(house.actor(Role.MANAGER)).plan.clips == {}, "callers hear it when it is published"


def test_what_nobody_kept_is_closed_and_no_clip(house: House) -> None:
    number = number_of(house)
    for pcm in (None, b""):
        message = call(house, number, keep=False, pcm=pcm)
        assert (message.kind, message.state) == ("message", "closed")
        assert (message.tags, message.urgency, message.needs_alert) == (["test", "studio"], "routine", False)
    assert not Job.objects.exists()
    assert not take_up()
    assert not Clip.objects.exists()


def test_only_the_last_take_counts(house: House) -> None:
    number = number_of(house)
    again = [(2.0, "part-end"), (4.0, "take"), (4.0, "part:message"), (5.0, "part-end")]
    make_message(house.mailbox, pcm=spoken(2) + bytes(2 * 16000) + spoken(1), marks=marks_of(number, *again))
    take_up()
    assert 0.8 < seconds(Clip.objects.get()) < 1.3


def test_what_cannot_be_used_says_why(house: House) -> None:
    for pcm, why in (
        (bytes(32000), "nothing can be heard"),
        (b"", "nothing can be heard"),
        (spoken(9), "at most 6"),
    ):
        message = call(house, number_of(house), pcm=pcm)
        assert take_up()
        found = service.recorded(house.actor(Role.MANAGER), NAME, "en")
        assert found is not None
        assert why in found.trouble
        message.refresh_from_db()
        assert (message.state, message.tags) == ("closed", ["test", "studio"])
    assert not Clip.objects.exists()
    assert Event.objects.filter(action="line:clip", outcome="failed").count() == 3


def test_who_may_not_change_the_line_any_more_keeps_nothing(house: House) -> None:
    number = number_of(house)
    house.people[Role.MANAGER].is_active = False
    house.people[Role.MANAGER].save()
    call(house, number)
    assert take_up()
    number.refresh_from_db()
    assert "may not change the line" in number.trouble
    assert not Clip.objects.exists()


def test_a_number_of_another_practice_keeps_nothing(house: House, other: House) -> None:
    message = call(other, number_of(house))
    assert take_up()
    message.refresh_from_db()
    assert (message.state, message.tags) == ("closed", ["test", "studio"])
    assert not Clip.objects.exists()


def test_it_is_no_patients_call(house: House) -> None:
    number = number_of(house)
    calls = [call(house, number) for _ in range(3)]
    assert {message.urgency for message in calls} == {"routine"}
    assert not any(third.thirds([(calls[2], "+15035550148")]).values())


@pytest.mark.parametrize("point", ["takeup.file", "takeup.uncommitted"])
def test_it_is_kept_once_wherever_the_worker_dies(
    house: House, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = call(house, number_of(house))

    def dies(name: str) -> None:
        if name == point:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(faults, "point", dies)
        with pytest.raises(Died):
            take_up()
    assert not Clip.objects.exists()
    message.refresh_from_db()
    assert message.state == "new"
    assert not take_up(), "the dead one's lease still runs"
    assert take_up(minutes=2)
    clip = Clip.objects.get()
    assert (load().home / "phone" / "clips" / clip.sha256).exists()
    assert Event.objects.filter(action="line:clip").count() == 1
    message.refresh_from_db()
    assert message.state == "closed"


def test_a_worker_whose_lease_ran_out_changes_nothing_any_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = number_of(house)
    call(house, number)
    plain = takeup._finished

    def slow(*given: Any) -> Any:
        monkeypatch.setattr(takeup, "_finished", plain)
        assert take_up(minutes=2), "another worker does it meanwhile"
        TryNumber.objects.update(kept=None)
        Clip.objects.all().delete()
        return plain(*given)

    monkeypatch.setattr(takeup, "_finished", slow)
    assert take_up()
    assert not Clip.objects.exists()


def test_keys_that_are_away_are_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    call(house, number_of(house))

    def away(_: str) -> bytes:
        raise takeup.vault.KeysAway("The keys are away")

    with monkeypatch.context() as patch:
        patch.setattr(takeup.vault, "message_key", away)
        assert take_up()
    assert TryNumber.objects.get().trouble == ""
    assert take_up(minutes=1)
    assert Clip.objects.exists()


def test_a_disk_that_is_full_for_a_moment_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(house, number_of(house))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(takeup.recordings, "write_file", full)
        assert take_up()
    assert take_up(minutes=1)
    assert Clip.objects.exists()


def files() -> set[str]:
    return {path.name for path in (load().home / "phone" / "clips").glob("*")}


def meanwhile(monkeypatch: pytest.MonkeyPatch, does: Callable[[], object]) -> None:
    """Something happens while the clip is being made, which takes a second or two."""
    plain = takeup._finished

    def slow(*given: Any) -> Any:
        made = plain(*given)
        does()
        return made

    monkeypatch.setattr(takeup, "_finished", slow)


def test_an_audit_row_stands_before_a_sealed_recording_is_opened(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = call(house, number_of(house))
    opened: list[list[str]] = []
    meanwhile(
        monkeypatch,
        lambda: opened.append(
            list(Event.objects.filter(message=message.id).values_list("action", flat=True))
        ),
    )
    assert take_up()
    assert opened == [["message:received", "line:take_up"]]


@pytest.mark.parametrize("where", [takeup, takeup.recordings])
def test_a_closed_audit_log_is_waited_for_and_leaves_no_file(
    house: House, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    call(house, number_of(house), pcm=spoken(2.5 if where is takeup else 2.7))
    before = files()

    def closed(*_: Any, **__: Any) -> str:
        raise AuditClosed("The audit log cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(where, "write", closed)
        for minutes in range(12):
            assert take_up(minutes), "no attempt is counted"
    assert Job.objects.get().attempts == 0
    assert (files() - before, TryNumber.objects.get().trouble) == (set(), "")
    assert take_up(minutes=20)
    assert files() - before == {Clip.objects.get().sha256}


def test_a_busy_database_counts_no_attempt(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    call(house, number_of(house))

    def busy(*_: Any) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(takeup.recordings, "enter", busy)
        assert take_up()
    assert Job.objects.get().attempts == 0
    assert take_up(minutes=1)
    assert Clip.objects.exists()


def test_what_is_destroyed_meanwhile_leaves_no_file(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    message = call(house, number_of(house), pcm=spoken(3))
    before = files()
    meanwhile(monkeypatch, lambda: disposal.dispose(message, "system:test", "request", utc_now()))
    assert take_up()
    assert (files() - before, Clip.objects.count()) == (set(), 0)


def test_a_patient_on_the_number_is_not_closed_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    message = call(house, number_of(house), pcm=spoken(4))
    before = files()
    meanwhile(monkeypatch, lambda: mailbox.make_real(house.actor(Role.MANAGER), message.id))
    assert take_up()
    message.refresh_from_db()
    assert (message.state, message.tags, message.urgency) == ("new", [], "review")
    assert (files() - before, Clip.objects.count()) == (set(), 0)


def test_a_refused_recording_of_a_patient_is_not_closed_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = call(house, number_of(house))
    meanwhile(monkeypatch, lambda: mailbox.make_real(house.actor(Role.MANAGER), message.id))
    monkeypatch.setattr(takeup.recordings, "store", lambda *_: 1 / 0)
    monkeypatch.setattr(takeup.jobs, "MAX_ATTEMPTS", 1)
    assert take_up()
    message.refresh_from_db()
    assert (message.state, message.tags) == ("new", [])


@pytest.mark.parametrize("keep", [True, False])
def test_a_patient_who_was_taken_for_a_recording_is_new_and_written_down(house: House, keep: bool) -> None:
    message = call(house, number_of(house), keep=keep)
    assert take_up() == keep
    mailbox.make_real(house.actor(Role.MANAGER), message.id)
    message.refresh_from_db()
    assert (message.state, message.closed_at, message.tags, message.words) == ("new", None, [], "pending")
    assert Job.objects.get(kind="transcribe", ended_at=None).key == message.id
    assert message.id in {row.id for row in mailbox.inbox(house.actor(Role.CLINICIAN)).rows}


def test_a_destroyed_trial_is_still_no_patients_call(house: House) -> None:
    kept = call(house, number_of(house))
    trial = make_message(house.mailbox, marks=((0, "test"), (0, "recording")))
    patient = make_message(house.mailbox, marks=((0, "relay"), (0, "recording")))
    for message in (kept, trial, patient):
        disposal.dispose(message, "system:test", "request", utc_now())
        message.refresh_from_db()
    assert (kept.tags, trial.tags, patient.tags) == (["test"], ["test"], [])
    counted = gave_up.counted(house.practice.id, utc_now() - timedelta(days=1))
    assert sum(many for _, _, many in counted) == 1


@pytest.mark.parametrize("odd", ["studio:", "studio:5035550100", "studio:try-12345", "studio-keep"])
def test_a_studio_mark_that_is_none_is_an_ordinary_call(house: House, odd: str) -> None:
    message = make_message(house.mailbox, marks=[(0, odd), (0, "recording"), (0, "part:message")])
    assert (message.tags, message.words, message.state) == ([], "pending", "new")
    assert not Job.objects.filter(kind="studio").exists()
