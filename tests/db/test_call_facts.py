"""What the call flow knew of a call becomes part of its message."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from tests.factories import CALLER, House, make_capture, make_message, tone

from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.log import Log
from nightbell.core.notice import Hearing, Word
from nightbell.mailbox import intake, playing, service, third, transcribe
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import Kind, Message, State
from nightbell.oncall import escalation
from nightbell.oncall.models import Alert
from nightbell.people.access import Actor, Forbidden
from nightbell.people.roles import Act, Role
from nightbell.store.models import Job

NAMED = ((0, "recording"), (0, "part:name"), (1, "part-end"), (4, "part:reason"), (6, "part-end"))
SPOKEN = ((0, "recording"), (0, "part:message"))
TOLD = ((0, "stage:status-waiting"), (0, "status:waiting"))


def hear(text: str) -> None:
    words = tuple(Word(" " + w, i * 0.1, i * 0.1 + 0.1, 0.95) for i, w in enumerate(text.split()))

    class Ear:
        def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
            return Hearing("en", words, "fake")

    while transcribe.run_one(Ear(), utc_now, Log("test")):
        pass


def test_it_keeps_the_parts_and_says_where_they_lie(house: House) -> None:
    pcm = tone(1, 300) + bytes(3 * 16000) + tone(2, 600)
    message = make_message(house.mailbox, pcm=pcm, marks=NAMED)
    assert (message.kind, message.duration_ms) == ("message", 1150 + 2150)
    view = service.message(house.actor(Role.CLINICIAN), message.id)
    assert view.parts is not None
    assert [(p.name, p.start, p.end, p.earlier) for p in view.parts] == [
        ("name", 0.0, 1.0, False), ("reason", 1.3, 3.3, False),
    ]  # fmt: skip
    assert view.row.duration_s == 3.3
    heard = array("h", playing.sound(house.actor(Role.CLINICIAN), message.id, 0, 10**7).data[44:])
    sent = array("h", pcm)
    kept = sent[: 8000 + 1200] + sent[32000 - 1200 :]
    assert len(heard) == len(kept)
    assert max(abs(a - b) for a, b in zip(kept, heard, strict=True)) < 260


def test_who_does_not_hear_a_message_sees_no_parts_of_it(house: House) -> None:
    message = make_message(house.mailbox, marks=SPOKEN)
    assert service.message(house.actor(Role.DISPATCHER), message.id).parts is None


def test_a_recording_that_was_cut_keeps_all_behind_its_last_mark(house: House) -> None:
    path = make_capture(house.mailbox, seconds=4, marks=((0, "recording"), (1, "part:message")), finish=False)
    intake.take_in(path, utc_now())
    assert Message.objects.get().duration_ms == 3150


def test_silence_is_a_missed_patient_whose_sound_is_kept(house: House) -> None:
    message = make_message(house.mailbox, pcm=bytes(8 * 16000), marks=SPOKEN)
    assert (message.kind, message.urgency, message.state) == ("missed", "review", "new")
    assert message.audio_bytes > 0
    assert Job.objects.filter(kind="transcribe", key=message.id).exists()
    whispered = make_message(house.mailbox, marks=(*SPOKEN, (3, "unheard")))
    assert (whispered.kind, whispered.duration_ms) == (
        "message",
        3000,
    )  # the phone's ear is not the last word


def test_a_caller_who_only_asked_is_done_at_once_and_wakes_nobody(house: House) -> None:
    message = make_message(house.mailbox, pcm=b"", marks=TOLD)
    assert (message.kind, message.state, message.needs_alert) == (Kind.STATUS, State.CLOSED, False)
    actor = house.actor(Role.CLINICIAN)
    assert service.inbox(actor).rows == ()
    row = service.inbox(actor, view="done").rows[0]
    assert (row.id, row.tags) == (message.id, ("status:waiting",))
    service.reopen(actor, message.id)
    assert service.inbox(actor).rows[0].state == "new", "nobody had it, so anybody must be able to take it"


def test_who_asked_and_then_spoke_left_a_message(house: House) -> None:
    message = make_message(house.mailbox, marks=(*TOLD, *SPOKEN))
    assert (message.kind, message.state) == ("message", "new")


@pytest.mark.parametrize(
    ("caller", "mark", "number", "uncertain", "how"),
    [
        (CALLER, "callback:seen", CALLER, False, "seen"),
        (CALLER, "callback:2125550199", "2125550199", False, "keyed"),
        ("", "callback:2125550199", "2125550199", False, "keyed"),
        ("", "callback:skipped", "", True, "caller_id"),
        ("", "callback:seen", "", True, "caller_id"),
        (CALLER, "callback:skipped", CALLER, False, "caller_id"),
    ],
)
def test_the_confirmed_number_is_the_one_to_call(
    house: House, caller: str, mark: str, number: str, uncertain: bool, how: str
) -> None:
    message = make_message(house.mailbox, caller=caller, marks=(*SPOKEN, (0, mark)))
    row = service.message(house.actor(Role.DISPATCHER), message.id).row
    assert (row.callback_number, row.callback_uncertain, row.number_from) == (number, uncertain, how)
    assert message.callback_sealed is None or number.encode() not in bytes(message.callback_sealed)


def test_tray_language_urgency_and_promise_are_what_was_chosen(house: House, other: House) -> None:
    told = (
        (0, f"mailbox:{house.second.id}"), (0, "language:es"), (0, "urgency:review"), (0, "slow"), (0, "short"),
        (3, "promise:within-30-min:2026-11-24T03:40:00Z"), *SPOKEN,
    )  # fmt: skip
    message = make_message(house.mailbox, marks=told)
    assert (message.mailbox, message.language, message.urgency) == (house.second, "es", "review")
    assert (message.tags, message.promise) == (["relay", "short"], "within-30-min")
    assert message.promised_by == datetime(2026, 11, 24, 3, 40, tzinfo=UTC)
    hear("I would like to move my appointment to next week please")
    row = service.message(house.actor(Role.CLINICIAN), message.id).row
    assert "menu" in [reason.kind for reason in row.reasons], "also when the words are there"
    stranger = make_message(house.mailbox, marks=((0, f"mailbox:{other.mailbox.id}"), *SPOKEN))
    assert stranger.mailbox == house.mailbox
    graver = make_message(house.mailbox, urgent=True, marks=((0, "urgency:review"), *SPOKEN))
    assert graver.urgency == "urgent"


def calls(house: House, *minutes: float, now: datetime, **options: object) -> list[Message]:
    return [
        make_message(house.mailbox, answered_at=now - timedelta(minutes=60 - m), **options) for m in minutes
    ]


def test_the_third_call_in_twenty_minutes_rings(house: House, other: House) -> None:
    now = utc_now()
    make_message(other.mailbox, answered_at=now - timedelta(minutes=59))
    make_message(house.mailbox, caller="+15035550149", answered_at=now - timedelta(minutes=58))
    first, second = calls(house, 0, 9, now=now)
    assert (first.tags, second.urgency) == ([], "routine")
    third = make_message(
        house.mailbox, pcm=b"", caller="15035550148", answered_at=now - timedelta(minutes=42)
    )
    assert (third.kind, third.urgency, third.needs_alert, third.tags) == ("missed", "urgent", True, ["third"])
    row = service.message(house.actor(Role.DISPATCHER), third.id).row
    assert ("third", "third call in 20 minutes") in [(r.kind, r.label) for r in row.reasons]
    hear("please call me")
    assert "third" in [r.kind for r in service.message(house.actor(Role.CLINICIAN), third.id).row.reasons]
    assert escalation.start_due(now) == 1


def test_our_own_number_is_no_caller_who_calls_again_and_again(house: House, other: House) -> None:
    """An exchange that forwards shows it for everybody, and so does an alert that rings a line of ours."""
    now = utc_now()
    for caller in ("+15035550100", "5035550190"):
        assert [one.urgency for one in calls(house, 0, 1, 2, now=now, caller=caller)] == ["routine"] * 3


def test_withheld_numbers_questions_and_tests_are_not_counted(house: House) -> None:
    now = utc_now()
    for hidden in calls(house, 0, 1, 2, now=now, caller=""):
        assert hidden.urgency == "routine"
    calls(house, 3, now=now, pcm=b"", marks=TOLD)
    calls(house, 4, now=now, marks=((0, "test"), *SPOKEN))
    assert [m.urgency for m in calls(house, 5, 6, now=now)] == ["routine", "routine"]
    assert calls(house, 7, now=now)[0].urgency == "urgent"
    assert calls(house, 8, now=now, marks=((0, "test"), *SPOKEN))[0].tags == ["test"]


def test_calls_that_come_in_out_of_order_are_counted_by_when_they_were_answered(house: House) -> None:
    now = utc_now()
    last, first = calls(house, 18, 0, now=now)
    actor = house.actor(Role.CLINICIAN)
    service.acknowledge(actor, first.id)
    taken = intake.take_in(make_capture(house.mailbox, answered_at=now - timedelta(minutes=50)), now)
    assert taken is not None
    assert (taken.rings, taken.urgent) == (False, True)
    last.refresh_from_db()
    assert (last.tags, last.urgency, last.needs_alert) == (["third"], "urgent", True)
    assert Message.objects.filter(tags=["third"]).count() == 1


def test_words_never_lower_what_another_call_raised_meanwhile(house: House) -> None:
    message = make_message(house.mailbox)

    class Ear:
        def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
            Message.objects.filter(pk=message.id).update(urgency="urgent", needs_alert=True)
            return Hearing("en", (Word(" hm", 0, 1, 0.2),), "fake")

    assert transcribe.run_one(Ear(), utc_now, Log("test"))
    message.refresh_from_db()
    assert (message.urgency, message.needs_alert) == ("urgent", True)


def test_a_test_call_never_rings_until_a_manager_makes_it_real(house: House) -> None:
    message = make_message(house.mailbox, urgent=True, marks=((0, "test"), *SPOKEN))
    assert (message.state, message.urgency, message.needs_alert) == ("new", "routine", False)
    hear("I have chest pain")
    message.refresh_from_db()
    assert (message.words, message.urgency, message.needs_alert) == ("ready", "routine", False)
    later = utc_now() + timedelta(minutes=5)
    assert (escalation.find_forgotten(later), escalation.start_due(later)) == (0, 0)
    assert service.inbox(house.actor(Role.CLINICIAN)).rows[0].tags == ("test",)
    with pytest.raises(Forbidden):
        service.make_real(house.actor(Role.CLINICIAN), message.id)
    service.make_real(house.actor(Role.MANAGER), message.id)
    message.refresh_from_db()
    assert (message.tags, message.urgency, message.needs_alert) == ([], "urgent", True)
    with pytest.raises(NotNow):
        service.make_real(house.actor(Role.MANAGER), message.id)
    assert escalation.start_due(later) == 1
    assert Alert.objects.filter(message=message).exists()


def test_a_red_flag_rings_when_the_test_became_a_message_while_the_engine_listened(house: House) -> None:
    message = make_message(house.mailbox, marks=((0, "test"), *SPOKEN))

    class Ear:
        def hear(self, pcm: bytes, language: str | None, rate: int = 8000) -> Hearing:
            service.make_real(house.actor(Role.MANAGER), message.id)
            words = ["I", "have", "chest", "pain", "since", "this", "morning"]
            return Hearing("en", tuple(Word(" " + w, i, i + 0.9, 0.95) for i, w in enumerate(words)), "fake")

    assert transcribe.run_one(Ear(), utc_now, Log("test"))
    message.refresh_from_db()
    assert (message.tags, message.urgency, message.needs_alert) == ([], "urgent", True)


def test_a_red_flag_that_is_found_while_a_manager_makes_it_a_message_rings(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = make_message(house.mailbox, marks=((0, "test"), *SPOKEN))
    demand = service.demand

    def meanwhile(actor: Actor, act: Act, message: str = "") -> None:
        demand(actor, act, message)
        if act == Act.EDIT_LINE:
            hear("I have chest pain since this morning")

    monkeypatch.setattr(service, "demand", meanwhile)
    service.make_real(house.actor(Role.MANAGER), message.id)
    message.refresh_from_db()
    assert (message.tags, message.urgency, message.needs_alert) == ([], "urgent", True)


def test_a_test_call_without_the_key_needs_a_look_and_with_a_red_flag_it_rings(house: House) -> None:
    plain = make_message(house.mailbox, marks=((0, "test"), *SPOKEN))
    hear("I would like to move my appointment to next week please")
    service.make_real(house.actor(Role.MANAGER), plain.id)
    flagged = make_message(house.mailbox, marks=((0, "test"), *SPOKEN))
    hear("I have chest pain since this morning")
    service.make_real(house.actor(Role.MANAGER), flagged.id)
    plain.refresh_from_db()
    flagged.refresh_from_db()
    assert [(m.urgency, m.needs_alert) for m in (plain, flagged)] == [("review", False), ("urgent", True)]


def test_a_capture_of_an_older_phone_is_taken_in(house: House) -> None:
    message = make_message(house.mailbox)
    assert (message.flow, message.parts, message.tags, message.callback_sealed) == (0, [], [], None)
    assert load().spool.exists()


def test_it_says_again_whether_it_rings_when_it_only_tidies_up(house: House) -> None:
    path = make_capture(house.mailbox, urgent=True)
    copy = path.read_bytes()
    first = intake.take_in(path, utc_now())
    path.write_bytes(copy)
    again = intake.take_in(path, utc_now())
    assert first is not None
    assert again is not None
    assert (first.rings, again.result, again.rings) == (True, "tidied", True)


def test_a_night_of_many_calls_opens_each_number_once(house: House) -> None:
    for n in range(6):
        make_message(house.mailbox, caller=f"+1503555010{n}")
    third._known.clear()  # as after a restart
    with mock.patch.object(third.vault, "message_keys", wraps=third.vault.message_keys) as key:
        for n in range(6):
            make_message(house.mailbox, caller=f"+1503555010{n}")
    opened = sum(len(call.args[0]) for call in key.call_args_list)
    assert opened == 6, "those of before once, and the new ones not at all"


def test_a_number_that_was_keyed_in_and_not_confirmed_is_shown_as_such(house: House) -> None:
    entered = ((0, "callback-entered:2125550199"), (0, "callback:unsure"), *SPOKEN)
    message = make_message(house.mailbox, marks=entered)
    row = service.inbox(house.actor(Role.CLINICIAN)).rows[0]
    assert (row.id, row.callback_number, row.callback_uncertain) == (message.id, "2125550199", True)
    assert row.number_from == "unsure"
    assert row.other_number  # where the call came from
    assert "unsure" in message.tags
