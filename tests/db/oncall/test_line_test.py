"""The evening test of the line, and drills: what passes, what is told, and that no patient's message is taken for ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.db.oncall.test_alerts import Phones
from tests.db.oncall.test_voice import CELL, OTHER_CELL, PIN, Phone, _night, _with_phone, phone
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.log import Log
from nightbell.core.notice import ChannelError
from nightbell.mailbox import epochs, intake, service
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import Message, Number, State
from nightbell.oncall import line_test, posting, voice
from nightbell.oncall.models import Alert, Attempt, LineTest, Notice, Shift, VoiceCall
from nightbell.people.access import Forbidden
from nightbell.people.models import Practice, User
from nightbell.people.roles import Act, Role
from nightbell.server.conversation import Conversation
from nightbell.server.line_tests import LineTests

__all__ = ["phone"]
OURS, NEW_YORK = "+15035550100", ZoneInfo("America/New_York")


@pytest.fixture
def clinician(house: House) -> User:
    return _with_phone(house, Role.CLINICIAN, CELL)


@pytest.fixture
def tests(house: House, phone: Phone, tmp_path: Path) -> LineTests:
    """It is a quarter past the practice's time."""
    local = utc_now().astimezone(NEW_YORK)
    Practice.objects.update(line_test_at=max(0, local.hour * 60 + local.minute - 15), tested_number=OURS)
    house.practice.refresh_from_db()
    return LineTests(phone.calling, tmp_path, lambda: True)


@pytest.mark.parametrize(
    ("local", "last", "due"),
    [
        ("2026-11-27T17:29", None, False), ("2026-11-27T17:30", None, True), ("2026-11-27T20:29", None, True),
        ("2026-11-27T20:31", None, False), ("2026-11-27T17:45", "2026-11-27T17:30", False),
        ("2026-11-27T17:30", "2026-11-26T17:30", True), ("2026-11-01T17:30", "2026-10-31T17:30", True),
        ("2026-11-27T17:30", "2027-11-27T17:30", True),
    ],
)  # fmt: skip
def test_it_is_due_once_an_evening_by_the_practices_clock(local: str, last: str | None, due: bool) -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)

    assert line_test.is_due(NEW_YORK, 1050, at(last) if last else None, at(local)) is due


def _called(phone: Phone, tests: LineTests) -> str:
    assert tests.step()
    call = phone.rung(OURS)
    assert phone.got("place_call")[-1]["caller"] == OURS, "it is known by the number that it shows"
    phone.leg(call, "answered")
    return call


def _left(house: House, caller: str = OURS) -> Message:
    now = utc_now()
    message = make_message(house.mailbox, caller=caller, answered_at=now)
    Message.objects.filter(pk=message.pk).update(
        received_at=now, dialled="15035550100"
    )  # as its carrier writes it
    return message


def test_an_evening_on_which_all_is_well(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    call = _called(phone, tests)
    assert "test-message" in phone.said(call)
    message = _left(house)
    phone.leg(call, "ended", "hung_up", heard=900)
    tests.step()
    ready = phone.rung(CELL)
    phone.leg(ready, "answered")
    assert phone.said(ready)[:2] == ["test-hello", "test-ready"]
    phone.keys(ready, "1")
    phone.silence(ready)
    tests.step()
    row = LineTest.objects.get()
    assert (row.state, {name: one["ok"] for name, one in row.checks.items()}) == (
        "passed",
        dict.fromkeys(line_test.CHECKS, True),
    )
    message.refresh_from_db()
    assert (message.state, message.tags) == (State.CLOSED, ["test", line_test.TAG])
    assert line_test.trouble(house.practice.id) == ""
    assert not Notice.objects.exists()
    assert not tests.step(), "once an evening"


def test_a_worker_that_has_just_started_fails_no_test_for_want_of_a_phone(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    phone.here = False
    tests.step()
    assert not LineTest.objects.exists()
    phone.here = True
    call = _called(phone, tests)
    _left(house)
    phone.leg(call, "ended", "hung_up", heard=900)
    phone.here = False
    tests.step()
    assert not VoiceCall.objects.filter(user=clinician).exists()
    assert "on_call" not in LineTest.objects.get().checks
    phone.here = True
    tests.step()
    assert phone.rung(CELL)


def test_a_practice_whose_test_cannot_begin_costs_no_other_its_own(
    house: House, other: House, phone: Phone, tests: LineTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = line_test.begin
    first = min((house.practice, other.practice), key=lambda one: one.id)

    def broken(practice: Practice, call: str, now: datetime) -> LineTest:
        if practice == first:
            raise ValueError("bad")
        return begin(practice, call, now)

    monkeypatch.setattr(line_test, "begin", broken)
    Practice.objects.update(tested_number=OURS, number=OURS)
    with pytest.raises(ValueError, match="bad"):
        tests.step()
    assert LineTest.objects.get().practice != first


def test_a_line_that_is_not_answered_turns_red_and_is_told(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    boss = _with_phone(house, Role.MANAGER, OTHER_CELL)
    boss.contacts.create(
        kind="email", address="boss@ab12.example", created_at=utc_now(), verified_at=utc_now()
    )
    boss.contacts.filter(kind="voice").update(position=9)
    tests.step()
    phone.leg(phone.rung(OURS), "ended", "unreachable")
    tests.step()
    ready = phone.rung(CELL)
    phone.leg(ready, "answered")
    phone.keys(ready, "1")
    phone.silence(ready)
    tests.step()
    assert LineTest.objects.get().state == "failed"
    assert "our number is answered: no, the number could not be reached" in line_test.trouble(
        house.practice.id
    )
    planned = Notice.objects.order_by("id")
    assert [(one.user, one.kind, one.by) for one in planned] == [
        (boss, "line_test", ""), (boss, "line_test", "voice"),
    ]  # fmt: skip
    night = Phones()
    night.pagers["voice"].problem = ChannelError("nobody answered")
    for wait in (0, 1):
        night.now += timedelta(seconds=wait * 3)
        posting.send_notices(night.sender, night.now, Log("test"))
        assert night.told("email") == ["boss@ab12.example"], "and by a mail no second time"
        night.pagers["voice"].problem = None
    assert night.told("voice") == [OTHER_CELL], "a call that nobody took is made again"
    assert set(planned.values_list("state", flat=True)) == {"sent"}


def test_who_is_on_call_and_does_not_press_the_key_is_told_of(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    call = _called(phone, tests)
    _left(house)
    phone.leg(call, "ended", "hung_up", heard=900)
    tests.step()
    ready = phone.rung(CELL)
    phone.leg(ready, "answered")
    phone.silence(ready, 3)
    tests.step()
    assert line_test.failed(LineTest.objects.get().checks) == ["on_call"]


def test_a_number_is_called_by_itself_only_once_a_test_by_hand_came_in_by_it(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    for other in ("", "+16175550199"):  # of before the number was changed
        Practice.objects.update(tested_number=other)
        assert not tests.step()
    row = line_test.ask(house.actor(Role.MANAGER))
    with pytest.raises(NotNow, match="under way"):
        line_test.ask(house.actor(Role.MANAGER))
    tests.step()
    call = phone.rung(OURS)
    phone.leg(call, "answered")
    assert LineTest.objects.get(pk=row.pk).call == call
    _left(house)
    phone.leg(call, "ended", "hung_up", heard=900)
    tests.step()
    assert line_test.is_proved(Practice.objects.get(pk=house.practice.pk))
    tests.step()
    assert len([one for one in phone.got("place_call") if one["to"] == OURS]) == 1
    LineTest.objects.update(state="passed", began_at=utc_now() - timedelta(hours=20))
    tests.step()
    assert len([one for one in phone.got("place_call") if one["to"] == OURS]) == 2, "and now by itself"


def test_a_test_begun_by_hand_where_nothing_can_be_called_fails_at_once(
    house: House, phone: Phone, tests: LineTests
) -> None:
    row = line_test.ask(house.actor(Role.MANAGER))
    tests._able = lambda: False
    for _ in range(3):
        tests.step()
    row.refresh_from_db()
    assert row.checks["answered"]["why"] == voice.WORDS["no_trunk"]
    assert not phone.got("place_call")


def test_a_silent_line_and_nobody_on_call(house: House, phone: Phone, tests: LineTests) -> None:
    Shift.objects.all().delete()
    call = _called(phone, tests)
    _left(house)
    phone.leg(call, "ended", "hung_up", heard=0)
    tests.step()
    tests.step()
    assert line_test.failed(LineTest.objects.get().checks) == ["greeting", "on_call"]


def test_a_patient_who_calls_at_that_minute_is_not_taken_for_the_test(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    call = _called(phone, tests)
    patient = _left(house, "+16175550177")
    phone.leg(call, "ended", "hung_up", heard=900)
    tests.step()
    VoiceCall.objects.filter(pk=call).update(ended_at=utc_now() - line_test.TAKEN_IN * 2)
    tests.step()
    row = LineTest.objects.get()
    assert row.checks["message"]["ok"] is False
    patient.refresh_from_db()
    assert (patient.state, patient.tags) == (State.NEW, [])


def test_a_test_that_a_dead_worker_left_comes_to_its_end(
    house: House, phone: Phone, tests: LineTests
) -> None:
    tests.step()
    LineTest.objects.update(began_at=utc_now() - line_test.LONGEST)
    tests.step()
    assert LineTest.objects.get().state == "failed"
    assert Notice.objects.count() == 1


@pytest.mark.parametrize("planned", [False, True])
def test_a_test_whose_worker_was_killed_before_it_called_is_called_anew(
    house: House,
    phone: Phone,
    tests: LineTests,
    clinician: User,
    planned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(*((phone.calling, "begin") if planned else (voice, "plan")), die)
        with pytest.raises(KeyboardInterrupt):
            tests.step()
    ago = utc_now() - 2 * voice.LOST_AFTER
    LineTest.objects.update(began_at=ago)
    VoiceCall.objects.update(started_at=ago, ended_at=ago, why="lost")  # as the loop finds it
    tests.step()
    call = phone.rung(OURS)
    assert LineTest.objects.get().call == call
    phone.leg(call, "answered")
    _left(house)
    phone.leg(call, "ended", "hung_up", heard=900)
    tests.step()
    assert line_test.failed(LineTest.objects.get().checks) == []
    assert [one["to"] for one in phone.got("place_call")] == [OURS, CELL]


def test_a_drill_that_nobody_took_says_in_the_log_that_its_message_was_closed(
    house: House, tests: LineTests
) -> None:
    _, message = _drill(house, tests)
    LineTest.objects.update(began_at=utc_now() - timedelta(hours=1))
    tests.step()
    assert Event.objects.filter(message=message.id, action="drill:close").count() == 1


def _drill(house: House, tests: LineTests) -> tuple[LineTest, Message]:
    epochs.begin(utc_now(), "system:test")
    Number.objects.create(dialled="0000", mailbox=house.mailbox, staff=True)  # the first by order
    row = line_test.ask_drill(house.actor(Role.MANAGER))
    with pytest.raises(NotNow):
        line_test.ask_drill(house.actor(Role.MANAGER))
    Practice.objects.update(line_test_at=None)
    tests.step()
    [path] = tests._folder.glob("*.cap")
    tests.step()
    taken = intake.take_in(path, utc_now(), None)
    assert taken is not None
    assert (taken.result, taken.urgent) == ("stored", True)
    return row, Message.objects.get(pk=row.id)


def test_a_drill_whose_capture_cannot_be_read_is_left_once(house: House, tests: LineTests) -> None:
    epochs.begin(utc_now(), "system:test")
    row = line_test.ask_drill(house.actor(Role.MANAGER))
    Practice.objects.update(line_test_at=None)
    tests.step()
    [path] = tests._folder.glob("*.cap")
    path.unlink()  # as intake does with what it cannot read
    tests.step()
    assert not list(tests._folder.glob("*.cap"))
    LineTest.objects.update(began_at=utc_now() - line_test.DRILL_SLACK * 2)
    tests.step()
    row.refresh_from_db()
    assert row.state == "failed"


def test_a_clock_that_is_put_right_by_seconds_ends_no_test(
    house: House, phone: Phone, tests: LineTests
) -> None:
    tests.step()
    LineTest.objects.update(began_at=utc_now() + timedelta(seconds=20))
    row = LineTest.objects.get()
    assert not line_test.end_when_done(row, utc_now())
    LineTest.objects.update(began_at=utc_now() + timedelta(hours=1))
    assert line_test.end_when_done(row, utc_now())


def test_a_drill_wakes_the_real_ladder_and_says_so(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    row, message = _drill(house, tests)
    assert (message.tags, message.dialled) == (["drill"], house.mailbox.numbers.get(staff=False).dialled)
    night = _night(phone)
    night.tick()
    assert Attempt.objects.get().kind == "drill"
    call = phone.rung(CELL)
    phone.leg(call, "answered")
    assert phone.said(call)[0] == "drill-hello"
    phone.keys(call, "1" + PIN + "#1")
    assert "act-connect" not in phone.said(call), "nobody called"
    tests.step()
    row.refresh_from_db()
    found = line_test.score(row)
    assert (row.state, found.by) == ("passed", clinician.name)
    assert None not in (found.told_s, found.taken_s)


def test_a_drill_that_was_taken_ends_by_itself_and_rings_no_more(
    house: House, phone: Phone, tests: LineTests
) -> None:
    row, message = _drill(house, tests)
    night = _night(phone)
    night.tick()
    owner = house.actor(Role.CLINICIAN)
    service.acknowledge(owner, message.id)
    tests.step()
    row.refresh_from_db()
    assert (row.state, line_test.left_open(utc_now())) == ("passed", []), "they may close it themselves"
    service.reopen(owner, message.id)  # given back, it rings again, but not for ever
    LineTest.objects.update(ended_at=utc_now() - line_test.DRILL_OPEN)
    assert (tests.step(), tests.step()) == (True, False)
    message.refresh_from_db()
    assert (message.state, message.closed_by, message.needs_alert) == (State.CLOSED, None, False)
    assert line_test.score(row).closed_s is None, "nobody closed it"
    assert Event.objects.filter(action="drill:close").count() == 1
    sent = len(night.pager.told)
    for _ in range(3):
        night.tick(3600)
    assert (len(night.pager.told), Alert.objects.get().state) == (sent, "owned")


def test_closed_in_time_it_counts_and_a_clock_of_next_year_leaves_none_open(
    house: House, tests: LineTests
) -> None:
    row, message = _drill(house, tests)
    owner = house.actor(Role.CLINICIAN)
    service.acknowledge(owner, message.id)
    tests.step()
    LineTest.objects.update(ended_at=utc_now() + timedelta(days=365))
    patients = make_message(house.mailbox)
    tests.step()
    assert Message.objects.get(pk=patients.pk).state == State.NEW
    service.reopen(owner, message.id)
    service.close(owner, message.id, "no_call_needed")
    row.refresh_from_db()
    assert line_test.score(row).closed_s is not None


def test_a_drill_that_nobody_takes_ends_and_rings_no_more(
    house: House, phone: Phone, tests: LineTests
) -> None:
    row, message = _drill(house, tests)
    night = _night(phone)
    night.tick()
    LineTest.objects.update(began_at=utc_now() - timedelta(hours=1))
    tests.step()
    row.refresh_from_db()
    message.refresh_from_db()
    assert (row.state, message.state) == ("failed", State.CLOSED)
    sent = len(night.pager.told)
    night.tick(3600)
    assert len(night.pager.told) == sent
    assert Alert.objects.get().state == "owned"


def test_only_a_manager_begins_a_drill(house: House) -> None:
    with pytest.raises(Forbidden):
        line_test.ask_drill(house.actor(Role.CLINICIAN))


def test_no_conversation_is_left_behind(
    house: House, phone: Phone, tests: LineTests, clinician: User
) -> None:
    call = _called(phone, tests)
    talk: Conversation = phone.calling._talks[call]
    phone.leg(call, "ended", "hung_up", heard=1)
    assert talk.over.is_set()
    phone.calling.step()
    assert call not in phone.calling._talks
    service.find(house.actor(Role.MANAGER), _left(house).id, Act.VIEW)


@pytest.mark.parametrize(("kind", "passes"), [("sms", True), ("push", True), ("email", False), ("", False)])
def test_whoever_has_no_telephone_passes_only_with_another_way_that_wakes(
    house: House, phone: Phone, tests: LineTests, clinician: User, kind: str, passes: bool
) -> None:
    way = {"kind": kind, "address": "+15035550177"} if kind else {"verified_at": None}
    clinician.contacts.filter(kind="voice").update(**way)
    call = _called(phone, tests)
    _left(house)
    phone.leg(call, "ended", "hung_up", heard=900)
    tests.step()
    check = LineTest.objects.get().checks["on_call"]
    assert check["ok"] is passes
    assert check["why"].startswith("not rung" if passes else "has no way that wakes")
