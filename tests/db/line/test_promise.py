"""The promise from real rows, against an oracle that knows the weeks by heart and counts in another way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.factories import House

from nightbell.core.ids import new_token
from nightbell.flow.plan import OwnDay, Plan
from nightbell.line.closures import add_closure
from nightbell.line.promise import promise
from nightbell.mailbox import joining, service
from nightbell.mailbox.models import Kind, Message, Outcome, State, Urgency
from nightbell.oncall.models import Alert, Attempt, AttemptState
from nightbell.people.roles import Role

ZONE = ZoneInfo("America/New_York")
# Three weeks and a half with the clock change (1 November), a holiday that is kept and one that is not.
START, DAYS = date(2026, 10, 26), 24
SHUT = {date(2026, 11, 3): "Election Day", date(2026, 11, 6): "closed by hand", date(2026, 11, 13): "own day"}
PLAN = Plan(
    state="NY", observed=("Election Day",), own_days=(OwnDay(date(2026, 11, 13), "Retreat"),), promise=20
)
SAID = [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90, 120, 180, 240, 360, 480, 720, 1440]


@dataclass
class Told:
    """What the oracle keeps of a message."""

    row: Message
    urgent: bool
    came: datetime
    called: datetime | None = None
    outcome: str = ""


def chance(*of: object) -> int:
    """0 to 99, always the same for the same words."""
    return hashlib.sha256(repr(of).encode()).digest()[0] * 100 // 256


def at(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time(minutes // 60, minutes % 60), ZONE).astimezone(UTC)


def opens(day: date) -> bool:
    return day.weekday() < 5 and day not in SHUT


def urgent_by_oracle(told: list[Told], now: datetime) -> str:
    """Counts how many callers each sentence would have been true for."""
    calls = [t for t in told if t.urgent and t.called and t.outcome != Outcome.NO_CALL_NEEDED]
    last = sorted(calls, key=lambda t: t.came)[-20:]
    waits = [now - t.came for t in told if t.urgent and t.called is None]
    for said in SAID:
        span = timedelta(minutes=said)
        true_for = sum(1 for t in last if t.called and t.called - t.came <= span)
        if said >= PLAN.promise and 10 * true_for >= 9 * len(last) and all(w <= span for w in waits):
            return f"within-{said}-min" if said <= 90 else f"within-{said // 60}-h"
    return ""


def routine_by_oracle(told: list[Told], now: datetime) -> str:
    """Counts midnights of open days that passed before the call: the second one is too late."""
    kept = []
    for t in sorted((t for t in told if not t.urgent), key=lambda t: t.came, reverse=True):
        end, day, open_days = t.called or now, t.came.astimezone(ZONE).date(), 0
        while day < end.astimezone(ZONE).date():
            if opens(day) and day > t.came.astimezone(ZONE).date():
                open_days += 1
            day += timedelta(days=1)
        if t.called or open_days:
            kept.append(open_days == 0)
    kept = kept[:20]
    return "promise-open-day" if len(kept) < 5 or sum(kept) / len(kept) >= 0.8 else ""


def arrive(house: House, urgent: bool, came: datetime, number: int) -> Told:
    row = Message.objects.create(
        practice=house.practice, mailbox=house.mailbox, kind=Kind.MESSAGE, answered_at=came, received_at=came,
        stored_at=came, end_reason="hang_up", urgency=Urgency.URGENT if urgent else
        (Urgency.REVIEW if number % 4 == 0 else Urgency.ROUTINE),
    )  # fmt: skip
    return Told(row, urgent, came)


def call(told: Told, now: datetime, number: int) -> None:
    told.called = now
    told.outcome = [Outcome.REACHED, Outcome.LEFT_WORD, Outcome.NO_CALL_NEEDED, Outcome.EMERGENCY][number % 4]
    Message.objects.filter(pk=told.row.pk).update(state=State.CLOSED, closed_at=now, outcome=told.outcome)


def test_over_some_weeks_it_says_what_the_oracle_says(house: House) -> None:
    manager = house.actor(Role.MANAGER, at(START, 600))
    add_closure(manager, at(date(2026, 11, 6), 0), at(date(2026, 11, 7), 0), visits=False)
    told: list[Told] = []
    heard: set[tuple[str, str]] = set()
    for number in range(DAYS * 12):
        day, now = (
            START + timedelta(days=number // 12),
            at(START + timedelta(days=number // 12), number % 12 * 120 + 7),
        )
        # A bad week in the middle: calls are late, then the practice catches up.
        quick = 85 if not 6 <= (day - START).days <= 12 else 12
        for t in [t for t in told if t.called is None]:
            sooner = quick if t.urgent else quick // 2 * opens(day)
            if chance("call", number, t.came.isoformat()) < sooner:
                call(
                    t,
                    now
                    - timedelta(minutes=chance("early", number) if t.came < now - timedelta(hours=2) else 0),
                    number,
                )
        if chance("comes", number) < 55:
            told.append(
                arrive(
                    house,
                    chance("urgent", number) < 40,
                    now - timedelta(minutes=chance("m", number) // 4),
                    number,
                )
            )
        said = promise(house.practice, PLAN, now, team=True)
        assert (said.urgent, said.routine) == (urgent_by_oracle(told, now), routine_by_oracle(told, now)), now
        heard.add((said.urgent, said.routine))
    # The weeks were worth the walk: short and long times, and both words about the open day.
    assert {routine for _, routine in heard} == {"", "promise-open-day"}
    assert len({urgent for urgent, _ in heard}) >= 5


def joined(house: House, first: Message, came: datetime) -> Message:
    """An addition, as intake stores it."""
    row = arrive(house, True, came, 0).row
    Message.objects.filter(pk=row.pk).update(joins=first)
    joining.worsen(Message.objects.get(pk=first.pk), row, came)
    Message.objects.filter(pk=first.pk).update(needs_alert=False)  # it rings
    return row


def finish(house: House, first: Message, now: datetime) -> None:
    actor = house.actor(Role.CLINICIAN, now)
    service.acknowledge(actor, first.id)
    service.close(actor, first.id, "reached")


def said(house: House, now: datetime) -> str:
    return promise(house.practice, PLAN, now, team=True).urgent


def test_what_got_worse_waits_since_it_did(house: House) -> None:
    """A routine message of three days ago; and a second addition makes nobody's wait shorter."""
    now = at(START, 600)
    first = arrive(house, False, now - timedelta(days=3), 1).row
    joined(house, first, now - timedelta(minutes=50))
    joined(house, first, now - timedelta(minutes=5))
    assert said(house, now) == "within-50-min"
    finish(house, first, now)
    assert said(house, now) == "within-50-min", "that is how long it took, and not three days"


def test_an_urgent_message_that_got_worse_waits_since_its_first_call(house: House) -> None:
    now = at(START, 600)
    first = arrive(house, True, now - timedelta(minutes=100), 0).row
    Message.objects.update(pressed_urgent=True)
    joined(house, first, now - timedelta(minutes=5))
    assert said(house, now) == "within-2-h"


def test_what_got_worse_after_it_was_closed_waits_since_then(house: House) -> None:
    now = at(START, 600)
    first = arrive(house, True, now - timedelta(days=3), 0).row
    Message.objects.update(pressed_urgent=True)
    finish(house, first, now - timedelta(days=3))
    joined(house, first, now - timedelta(minutes=40))
    joined(house, first, now - timedelta(minutes=4))
    assert said(house, now) == "within-40-min"
    finish(house, first, now + timedelta(minutes=5))
    assert said(house, now + timedelta(hours=1)) == "within-45-min"


def test_what_was_reopened_waits_since_then(house: House) -> None:
    now = at(START, 600)
    first = arrive(house, True, now - timedelta(days=3), 0).row
    finish(house, first, now - timedelta(days=3))
    service.reopen(house.actor(Role.CLINICIAN, now - timedelta(minutes=50)), first.id)
    assert said(house, now) == "within-50-min"
    finish(house, first, now + timedelta(minutes=5))
    assert said(house, now + timedelta(hours=1)) == "within-60-min"


def test_routine_messages_that_were_reopened_are_late_only_after_that(house: House) -> None:
    now = at(START + timedelta(days=2), 600)
    rows = [arrive(house, False, now - timedelta(days=5), 1).row for _ in range(6)]
    for row in rows:
        service.close(house.actor(Role.FRONT_DESK, now - timedelta(days=5)), row.id, "reached")
        service.reopen(house.actor(Role.FRONT_DESK, now), row.id)
    assert promise(house.practice, PLAN, now, team=True).routine == "promise-open-day"
    later = now + timedelta(days=3)
    assert promise(house.practice, PLAN, later, team=True).routine == ""


def test_another_practices_messages_say_nothing(house: House, other: House) -> None:
    now = at(START, 600)
    arrive(other, True, now - timedelta(hours=5), 0)
    assert promise(house.practice, PLAN, now, team=True).urgent == "within-20-min"
    assert promise(other.practice, PLAN, now, team=True).urgent == "within-6-h"


def test_calls_that_tried_the_line_out_say_nothing(house: House) -> None:
    now = at(START, 600)
    for _ in range(6):
        rows = [arrive(house, urgent, now - timedelta(days=9), 1).row.pk for urgent in (True, False)]
        Message.objects.filter(pk__in=rows).update(tags=["test"])
    said = promise(house.practice, PLAN, now, team=True)
    assert (said.urgent, said.routine) == ("within-20-min", "promise-open-day")
    Message.objects.update(tags=["short"])
    said = promise(house.practice, PLAN, now, team=True)
    assert (said.urgent, said.routine) == ("", "")


def test_nobody_to_wake_means_no_time(house: House) -> None:
    said = promise(house.practice, PLAN, at(START, 600), team=False)
    assert (said.urgent, said.routine, said.team) == ("", "promise-open-day", False)


@pytest.mark.parametrize(
    ("overdue_s", "attempts", "said"),
    [
        (-30, [], True),
        (30, [], True),
        (61, [], False),
        (-30, [AttemptState.FAILED], False),
        (-30, [AttemptState.FAILED, AttemptState.SENT], True),
    ],
)
def test_an_alert_that_stands_still_takes_the_promise_away(
    house: House, other: House, overdue_s: int, attempts: list[AttemptState], said: bool
) -> None:
    now = at(START, 600)
    message = arrive(house, True, now - timedelta(minutes=2), 0).row
    alert = Alert.objects.create(
        practice=house.practice, message=message, token=new_token(), policy="{}", step=1,
        started_at=now - timedelta(minutes=2), next_at=now - timedelta(seconds=overdue_s),
    )  # fmt: skip
    for state in attempts:
        Attempt.objects.create(
            alert=alert, step=0, address=f"{state}@ab12.example", kind="urgent", state=state,
            recorded_at=now - timedelta(seconds=20), retry_at=now + timedelta(seconds=20),
        )  # fmt: skip
    assert bool(promise(house.practice, PLAN, now, team=True).urgent) is said
    assert promise(other.practice, PLAN, now, team=True).urgent == "within-20-min"


@pytest.mark.parametrize(
    ("recorded_s", "tries", "said"), [(59, 1, True), (61, 1, False), (20, 6, True), (20, 7, False)]
)
def test_a_notification_that_does_not_leave_takes_it_away(
    house: House, recorded_s: int, tries: int, said: bool
) -> None:
    now = at(START, 600)
    alert = Alert.objects.create(
        practice=house.practice, message=arrive(house, True, now - timedelta(minutes=2), 0).row, policy="{}",
        token=new_token(), step=1, started_at=now - timedelta(minutes=2), next_at=now + timedelta(seconds=30),
    )  # fmt: skip
    Attempt.objects.create(
        alert=alert, step=0, address="c@ab12.example", kind="urgent", state=AttemptState.PENDING, tries=tries,
        recorded_at=now - timedelta(seconds=recorded_s), retry_at=now + timedelta(seconds=5),
    )  # fmt: skip
    assert bool(promise(house.practice, PLAN, now, team=True).urgent) is said


def test_an_urgent_message_that_no_alert_picked_up_takes_it_away_too(house: House) -> None:
    now = at(START, 600)
    row = arrive(house, True, now - timedelta(seconds=61), 0).row
    Message.objects.filter(pk=row.pk).update(needs_alert=True)
    assert promise(house.practice, PLAN, now, team=True).urgent == ""
