"""The manager's numbers and the replay's rows: from real messages, without a word of theirs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from statistics import quantiles
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from tests.db.web.conftest import signed_in, spoken_message
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.ids import new_token
from nightbell.core.notice import NoticeKind
from nightbell.mailbox import playing, service
from nightbell.mailbox.models import Kind, Message, State, Urgency
from nightbell.oncall import measures, numbers, outcomes, policies, schedule, weekly, what_if_rows
from nightbell.oncall.models import Alert, Attempt, AttemptState, Notice, Shift
from nightbell.oncall.numbers import Case
from nightbell.oncall.what_if import Change
from nightbell.people.access import Forbidden
from nightbell.people.models import Practice, User
from nightbell.people.roles import Role

ZONE = ZoneInfo("America/New_York")
START = datetime(2026, 11, 2, 3, 30, tzinfo=UTC)  # 22:30 on the practice's clock, a Sunday
MINUTE = timedelta(minutes=1)


def arrives(house: House, at: datetime, urgency: str = "urgent", **more: object) -> Message:
    return Message.objects.create(
        practice=house.practice, mailbox=house.mailbox, kind=Kind.MESSAGE, answered_at=at, received_at=at,
        stored_at=at, end_reason="hang_up", urgency=urgency, **more,
    )  # fmt: skip


def told(
    message: Message, user: User, at: datetime, step: int = 0, kind: str = "urgent", channel: str = "push"
) -> None:
    alert, _ = Alert.objects.get_or_create(
        message=message,
        defaults={
            "practice": message.practice,
            "token": new_token(),
            "policy": "",
            "started_at": at,
            "next_at": at,
        },
    )
    Attempt.objects.create(
        alert=alert, step=step, user=user, kind=kind, channel=channel, address=user.email, recorded_at=at, retry_at=at,
        sent_at=at, state=AttemptState.SENT,
    )  # fmt: skip


def test_spans_against_the_textbook() -> None:
    found = [timedelta(seconds=n * 37 % 401) for n in range(1, 400)]
    spans = measures.spans([*found, None])
    cut = quantiles([one.total_seconds() for one in found], n=100, method="inclusive")
    assert spans.count == 399 and spans.p50 is not None and spans.p90 is not None
    assert abs(spans.p50.total_seconds() - cut[49]) <= 1 and abs(spans.p90.total_seconds() - cut[89]) <= 1
    assert measures.spans([]) == measures.Spans(0, None, None)
    assert measures.spans([-MINUTE]).p50 == timedelta(), "a clock that was set back makes no negative wait"


def test_from_a_message_to_its_spans(house: House) -> None:
    message = spoken_message(house, urgent=True)
    actor = house.actor(Role.CLINICIAN, message.received_at + 2 * MINUTE)
    playing.sound(actor, message.id, 0, 1000)
    service.acknowledge(house.actor(Role.CLINICIAN, message.received_at + 3 * MINUTE), message.id)
    service.reopen(house.actor(Role.CLINICIAN, message.received_at + 4 * MINUTE), message.id)  # given back
    service.acknowledge(house.actor(Role.MANAGER, message.received_at + 5 * MINUTE), message.id)
    outcomes.record(house.actor(Role.MANAGER, message.received_at + 6 * MINUTE), message.id, "no_answer")
    (case,) = cases(house)
    assert (case.heard, case.taken, case.reached) == (2 * MINUTE, 3 * MINUTE, None)
    outcomes.record(house.actor(Role.MANAGER, message.received_at + 9 * MINUTE), message.id, "emergency")
    (case,) = cases(house)
    clinician, manager = house.people[Role.CLINICIAN].id, house.people[Role.MANAGER].id
    assert (case.reached, case.taken_by, case.reached_by) == (9 * MINUTE, clinician, manager)
    outcomes.reopen(house.actor(Role.MANAGER), message.id)
    assert cases(house)[0].reached is None, "a close that was taken back reached nobody"


def cases(house: House) -> list[Case]:
    now = utc_now()
    return numbers.cases(house.practice, now - timedelta(days=1), now + timedelta(days=1))


def test_what_is_no_patient_waiting_does_not_count(house: House, other: House) -> None:
    first = arrives(house, START)
    arrives(house, START, joins=first)
    arrives(house, START, tags=["test"])
    Message.objects.filter(pk=arrives(house, START).pk).update(kind=Kind.STATUS)
    arrives(other, START)
    closed_at_once = arrives(house, START)
    outcomes.record(house.actor(Role.CLINICIAN, START + MINUTE), closed_at_once.id, "reached")
    found = numbers.of(house.practice, START - MINUTE, START + MINUTE)
    assert (found.all.messages, found.all.taken.count, found.all.reached.p50) == (2, 1, MINUTE)
    Message.objects.filter(pk=closed_at_once.pk).update(state=State.DISPOSED)
    assert numbers.of(house.practice, START, START + MINUTE).all.messages == 2, (
        "disposal does not change the past"
    )


def test_by_urgency_hour_and_person(house: House) -> None:
    for hour, urgency in ((0, "urgent"), (1, "routine"), (25, "urgent")):
        arrives(house, START + timedelta(hours=hour), urgency)
    found = numbers.of(house.practice, START, START + timedelta(days=3))
    assert [(name, one.messages) for name, one in found.by_urgency] == [
        ("urgent", 2),
        ("review", 0),
        ("routine", 1),
    ]
    assert {hour: one.messages for hour, one in enumerate(found.by_hour) if one.messages} == {22: 1, 23: 2}
    given = [
        Case(START, "urgent", None, 2 * MINUTE, 9 * MINUTE, "a", "b"), Case(START, "urgent", None, 4 * MINUTE, None, "a"),
    ]  # fmt: skip
    people = numbers.count(given, [], ZONE).by_person
    assert [(user, taken.count, taken.p90, reached.count) for user, taken, reached in people] == [
        ("a", 2, 4 * MINUTE, 0), ("b", 0, None, 1),
    ]  # fmt: skip


def test_a_night_is_one_night_and_a_burst_wakes_once() -> None:
    half_past = [START + n * MINUTE for n in (0, 1, 4, 30, 120)]  # 22:30, 22:31, 22:34, 23:00, 00:30
    day = [START + timedelta(hours=10), START + timedelta(hours=19)]  # 08:30 and 17:30
    next_night = [START + timedelta(hours=24), START + timedelta(hours=32, minutes=29)]  # 22:30, 06:59
    told_at = [("a", at) for at in (*half_past, *day, *next_night)] + [("b", day[0])]
    assert measures.wakings(told_at, ZONE) == (measures.Nights("a", 2, 5, 3),)
    assert measures.night_of(START + timedelta(hours=8), ZONE) == date(2026, 11, 1)


def test_who_may_look_and_that_it_is_written_down(house: House) -> None:
    for role in (Role.MANAGER, Role.COMPLIANCE):
        numbers.gather(house.actor(role), date(2026, 11, 1), date(2026, 11, 30))
    assert Event.objects.filter(action="numbers:view", outcome="ok").count() == 2
    for role in (Role.CLINICIAN, Role.DISPATCHER, Role.IT_ADMIN, Role.FRONT_DESK):
        with pytest.raises(Forbidden):
            numbers.gather(house.actor(role), date(2026, 11, 1), date(2026, 11, 30))
    for first, last in ((date(2026, 11, 2), date(2026, 11, 1)), (date(2025, 1, 1), date(2026, 11, 1))):
        with pytest.raises(ValueError, match="days"):
            numbers.gather(house.actor(Role.MANAGER), first, last)


def test_the_pages_hold_no_word_of_a_patient(house: House) -> None:
    message = spoken_message(house, urgent=True)
    told(message, house.people[Role.CLINICIAN], message.received_at)
    outcomes.record(house.actor(Role.CLINICIAN), message.id, "reached")
    client = signed_in(house.people[Role.MANAGER])
    me = house.people[Role.CLINICIAN]
    for address in (
        "/numbers/", "/numbers/?from=2026-01-01&to=2026-12-31", "/numbers/what-if",
        f"/numbers/what-if?days=90&a={me.id}&b={house.people[Role.MANAGER].id}&day=0&day=1&day=2&day=3&day=4&day=5&day=6&wait=60",
    ):  # fmt: skip
        page = client.get(address)
        text = page.content.decode()
        assert page.status_code == 200, address
        assert me.name in text
        for word in ("Quixby", "chest", "555 0148", "555-0148", "5550148", message.id):
            assert word not in text, (address, word)
        assert "style=" not in text
    assert client.get("/numbers/?from=2026-12-01&to=2026-01-01").status_code == 422
    assert client.get("/numbers/?from=nonsense").status_code == 422
    assert client.get("/numbers/what-if?days=31&a=x&day=9&wait=0").status_code == 200
    assert signed_in(house.people[Role.CLINICIAN]).get("/numbers/").status_code == 403


def test_what_people_did_is_measured(house: House) -> None:
    one, two = house.people[Role.CLINICIAN], house.people[Role.MANAGER]
    first = arrives(house, START)
    told(first, one, START, 0)
    told(first, one, START, 0, channel="sms")  # one telling by two ways
    told(first, one, START + 2 * MINUTE, 1)
    service.acknowledge(house.actor(Role.CLINICIAN, START + 3 * MINUTE), first.id)
    second = arrives(house, START + timedelta(hours=1))
    told(second, one, START + timedelta(hours=1), 0)
    service.acknowledge(house.actor(Role.MANAGER, START + timedelta(hours=1, minutes=1)), second.id)
    told(second, two, START + timedelta(hours=2), 4, kind="unreached")
    found = what_if_rows.measured(house.practice, START - MINUTE).people
    assert (found[one.id].tellings, found[one.id].answers) == (2, (MINUTE,))
    assert two.id not in found, "a colleague was quicker, and a reminder asks nobody to take it"


def test_a_change_moves_the_tellings_to_whom_it_names(house: House) -> None:
    """Every day the clinician; changed, the manager on the practice's Sundays."""
    for day in range(7):
        arrives(house, utc_now() - timedelta(days=day, hours=1))
    arrives(house, utc_now() - timedelta(days=1), Urgency.ROUTINE)
    one, two = house.people[Role.CLINICIAN].id, house.people[Role.FRONT_DESK].id
    found = what_if_rows.compare(
        house.actor(Role.MANAGER), "", "", 30, Change(one, two, frozenset([6]), (60, 60, 60, 60))
    )
    assert (found.now.messages, found.now.people[one].first, found.then.people[one].first) == (7, 7, 6)
    assert found.then.people[two].first == 1 and two not in found.now.people
    assert found.then.last_resort > found.now.last_resort, "shorter waits come to the last resort more often"
    assert [step.who for step in found.policy.steps][-1] == policies.Who.LAST_RESORT
    assert Event.objects.filter(action="numbers:what_if").count() == 1
    with pytest.raises(Forbidden):
        what_if_rows.compare(house.actor(Role.CLINICIAN), "", "", 30, Change())


def test_the_replay_reads_no_patient_data(house: House) -> None:
    spoken_message(house, urgent=True)
    with mock.patch("nightbell.store.vault.keyring", side_effect=AssertionError("a key was asked for")):
        found = what_if_rows.compare(house.actor(Role.MANAGER), "", "", 30, Change())
        numbers.gather(house.actor(Role.MANAGER), utc_now().date(), utc_now().date())
    assert found.now.messages == 1


@pytest.mark.parametrize(
    ("at", "due"),
    [
        ("2026-11-02T12:59:59+00:00", None), ("2026-11-02T13:00:00+00:00", date(2026, 11, 2)),
        ("2026-11-04T12:59:59+00:00", date(2026, 11, 2)), ("2026-11-04T13:00:00+00:00", None),
        ("2026-03-09T12:00:00+00:00", date(2026, 3, 9)), ("2026-03-09T11:59:59+00:00", None),  # summer time began
    ],
)  # fmt: skip
def test_when_the_weekly_mail_is_due(at: str, due: date | None) -> None:
    assert weekly.due_week(datetime.fromisoformat(at), ZONE) == due


def test_the_weekly_mail_is_planned_once_for_each_manager(house: House, other: House) -> None:
    User.objects.filter(pk=other.people[Role.MANAGER].pk).update(is_active=False)
    monday = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)
    assert [weekly.plan_due(monday + n * MINUTE) for n in range(3)] == [1, 0, 0]
    notice = Notice.objects.get()
    assert (notice.user_id, notice.kind) == (house.people[Role.MANAGER].id, NoticeKind.WEEKLY)
    assert weekly.plan_due(monday + timedelta(days=3)) == 0
    assert weekly.plan_due(monday + timedelta(days=7)) == 1


def test_a_practice_without_a_clock_holds_up_no_others_weekly_mail(house: House, other: House) -> None:
    Practice.objects.filter(pk=house.practice.pk).update(zone="No/Where")
    with pytest.raises((ValueError, KeyError)):
        weekly.plan_due(datetime(2026, 11, 2, 14, 0, tzinfo=UTC))
    assert Notice.objects.get().practice == other.practice


def test_a_mail_at_night_wakes_nobody(house: House) -> None:
    ann, message = house.people[Role.CLINICIAN], arrives(house, START)
    for n, channel in enumerate(("email", "other", "push", "sms", "voice")):
        told(message, ann, START + n * timedelta(hours=1), step=n, channel=channel)
    found = numbers.of(house.practice, START - timedelta(days=1), START + timedelta(days=1))
    assert [(one.user, one.wakings) for one in found.nights] == [(ann.id, 3)]
    assert found.mails == ((ann.id, 1),)


def test_mails_at_night_stand_beside_the_wakings(house: House) -> None:
    ann, bob, message = house.people[Role.CLINICIAN], house.people[Role.MANAGER], arrives(house, START)
    for n in range(6):
        told(message, ann, START + n * timedelta(hours=1), step=n, channel="email")
    told(message, bob, START, step=7, channel="email")
    told(message, bob, START + timedelta(hours=12), step=8, channel="email")  # by day
    page = signed_in(bob).get("/numbers/?from=2026-11-01&to=2026-11-03").content.decode()
    assert "Nobody was told at night" not in page and "Nobody was rung, texted or pushed at night" in page
    assert f"Mails in those hours, which are no wakings: {ann.name} 6, {bob.name} 1." in page


@pytest.mark.parametrize(
    ("outcome", "reached"), [("reached", True), ("emergency", True), ("left_word", False)]
)
def test_what_was_closed_before_each_try_had_a_row_counts_by_its_close(
    house: House, outcome: str, reached: bool
) -> None:
    ann = house.people[Role.CLINICIAN]
    arrives(
        house, START, state=State.CLOSED, outcome=outcome, owner=ann, owned_at=START + MINUTE, closed_at=START + 9 * MINUTE
    )  # fmt: skip
    [case] = numbers.cases(house.practice, START, START + MINUTE)
    assert (case.reached, case.reached_by) == ((9 * MINUTE, ann.id) if reached else (None, ""))


def at(text: str) -> datetime:
    """On the practice's clock: '02 22:30' is the second of November."""
    day, hour = text.split()
    return datetime.fromisoformat(f"2026-11-{day}T{hour}").replace(tzinfo=ZONE).astimezone(UTC)


def test_each_shift_has_its_own_wakings_and_waits() -> None:
    """Two nights of ann, one of bob with ann as backup; a notification between two shifts is of the one that it lies in."""
    first = measures.Turn("ann", "s", at("02 17:00"), at("03 08:00"))
    second = measures.Turn("bob", "s", at("03 17:00"), at("04 08:00"))
    behind = measures.Turn("ann", "s", at("03 17:00"), at("04 08:00"), backup=True)
    told = [
        measures.Told("ann", "s", at("02 18:00"), "m0", True, True),  # in the evening: no waking
        measures.Told("ann", "s", at("02 23:00"), "m1", False, True),
        measures.Told("ann", "s", at("02 23:04"), "m2", True, True),  # the same waking, urgent by it
        measures.Told("ann", "s", at("03 02:00"), "m6", False, True),
        measures.Told("ann", "s", at("03 02:01"), "m3", False, False),  # by mail
        measures.Told("bob", "s", at("03 23:00"), "m4", False, True),
        measures.Told("ann", "s", at("03 23:05"), "m4", False, True),
        measures.Told("ann", "s", at("05 03:00"), "m5", True, True),  # outside of any
    ]
    taken = {
        "m0": ("ann", at("02 18:01")), "m1": ("ann", at("02 23:09")), "m2": ("bob", at("03 02:02")),
        "m4": ("ann", at("03 23:06")),
    }  # fmt: skip
    found = measures.by_shift([first, second, behind], told, taken, ZONE)
    assert [(one.user, one.turn, one.alerts, one.wakings, one.urgent) for one in found] == [
        ("bob", second, 1, 1, 0),
        ("ann", behind, 1, 1, 0),
        ("ann", first, 5, 2, 1),
        ("ann", None, 1, 1, 1),
    ]
    assert found[2].taken == measures.Spans(2, MINUTE, 9 * MINUTE)
    assert found[1].taken == measures.Spans(1, MINUTE, MINUTE)
    assert found[0].taken.count == 0, "who was told and did not take it waited for nothing that is theirs"


def test_a_shift_of_another_schedule_takes_only_what_nobody_elses_is() -> None:
    main = measures.Turn("ann", "main", at("02 17:00"), at("03 08:00"))
    other = measures.Turn("ann", "nurses", at("02 17:00"), at("03 08:00"))
    told = [measures.Told("ann", "nurses", at("03 01:00"), "m1", True, True)]
    found = {one.turn: one.wakings for one in measures.by_shift([main, other], told, {}, ZONE)}
    assert found == {main: 0, other: 1}


def test_the_shifts_of_the_practice_on_the_page(house: House) -> None:
    clinician, manager = house.people[Role.CLINICIAN], house.people[Role.MANAGER]
    night = at("03 02:00")
    for n in range(2):
        message = arrives(house, night + n * 20 * MINUTE)
        told(message, clinician, night + n * 20 * MINUTE)
        service.acknowledge(house.actor(Role.CLINICIAN, night + (n * 20 + 3) * MINUTE), message.id)
    told(arrives(house, night), manager, night)
    found = numbers.of(house.practice, at("02 00:00"), at("05 00:00")).shifts
    busy = [one for one in found if one.alerts]
    assert [(one.user, one.turn is None, one.wakings, one.urgent, one.taken.p50) for one in busy] == [
        (clinician.id, False, 2, 2, 3 * MINUTE),
        (manager.id, True, 1, 1, None),
    ]
    assert busy[0].turn is not None and busy[0].turn.starts_at == at("03 00:00")
    page = signed_in(manager).get("/numbers/?from=2026-11-02&to=2026-11-04").content.decode()
    assert "Tue 3 Nov, 00:00 to Wed 00:00" in page and "Outside of their shifts" in page
    assert "took 2 of 2" in page and 'In <span class="nb-num">' in page
    empty = signed_in(manager).get("/numbers/?from=2025-11-02&to=2025-11-04").content.decode()
    assert "Nobody was told of anything in a shift of these days." in empty


def test_a_plan_that_was_changed_since_does_not_say_who_was_off(house: House) -> None:
    """A woken person's shifts are taken out of the plan: their nights of before were not "outside of their shifts"."""
    clinician, manager = house.actor(Role.CLINICIAN).user, house.actor(Role.MANAGER, at("10 12:00"))
    for night in (at("03 02:00"), at("17 02:00")):
        told(arrives(house, night), clinician, night)
    tuesday = Shift.objects.get(schedule__practice=house.practice, weekday=1)
    schedule.remove_shift(manager, tuesday.id, manager.user.name)
    found = [one for one in numbers.of(house.practice, at("02 00:00"), at("20 00:00")).shifts if one.alerts]
    assert [(one.turn, one.unsure, one.wakings) for one in found] == [(None, False, 1), (None, True, 1)]
    client = signed_in(manager.user)
    page = client.get("/numbers/?from=2026-11-02&to=2026-11-04").content.decode()
    assert "By a plan that was changed since" in page and "Outside of their shifts" not in page
    page = client.get("/numbers/?from=2026-11-16&to=2026-11-18").content.decode()
    assert "By a plan that was changed since" not in page and "Outside of their shifts" in page


def test_an_override_that_was_taken_back_leaves_its_own_time_alone_in_doubt(house: House) -> None:
    desk, manager = house.actor(Role.FRONT_DESK).user, house.actor(Role.MANAGER, at("03 00:00"))
    made = schedule.add_override(manager, desk.id, at("03 01:00"), at("03 09:00"))
    for night in (at("03 02:00"), at("03 06:00"), at("03 00:30")):
        told(arrives(house, night), desk, night)
    schedule.remove_override(house.actor(Role.MANAGER, at("03 04:00")), made)
    found = [one for one in numbers.of(house.practice, at("02 00:00"), at("05 00:00")).shifts if one.alerts]
    assert [(one.turn, one.unsure, one.alerts) for one in found] == [(None, False, 2), (None, True, 1)]
