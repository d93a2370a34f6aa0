"""A shift given away at 22:30: asked one after another, taken once, nothing uncovered in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.notice import NoticeKind, Notification
from nightbell.oncall import schedule, swaps
from nightbell.oncall.errors import BadSwap
from nightbell.oncall.models import Notice, Override, Schedule, Swap, SwapState
from nightbell.oncall.notifications import render
from nightbell.oncall.roster import on_call_ids
from nightbell.oncall.swaps import Answered
from nightbell.people.access import Forbidden, NotFound
from nightbell.people.models import User
from nightbell.people.practices import lock_out
from nightbell.people.roles import Role

NEW_YORK = ZoneInfo("America/New_York")
LATE = datetime(2026, 11, 24, 22, 30, tzinfo=NEW_YORK).astimezone(UTC)
MORNING = datetime(2026, 11, 25, 8, tzinfo=NEW_YORK).astimezone(UTC)
WAIT = timedelta(minutes=4)


@pytest.fixture
def ill(house: House) -> User:
    return house.people[Role.CLINICIAN]


@pytest.fixture
def desk(house: House) -> User:
    return house.people[Role.FRONT_DESK]


@pytest.fixture
def boss(house: House) -> User:
    return house.people[Role.MANAGER]


def _ask(ill: User, *whom: User, now: datetime = LATE, until: datetime = MORNING) -> Swap:
    return swaps.ask(ill, now, until, [user.id for user in whom], now, True)


def _told() -> list[tuple[str, str]]:
    return [
        (n.user.role, n.key.split(":", 2)[2].split(":")[0]) for n in Notice.objects.order_by("made_at", "key")
    ]


def _asked() -> list[str]:
    return [asking.user.role for asking in swaps.asking()]


def test_until_a_colleague_accepts_nothing_changes_and_then_all_at_once(
    house: House, ill: User, desk: User, boss: User
) -> None:
    swap = _ask(ill, desk, boss)
    assert _asked() == ["front_desk"]
    assert on_call_ids(house.practice, LATE) == [ill.id]
    assert not Override.objects.exists()
    then = LATE + timedelta(minutes=2)
    assert swaps.answer(swap.id, desk, True, then, "phone") is Answered.TAKEN
    assert on_call_ids(house.practice, then) == [desk.id]
    assert on_call_ids(house.practice, MORNING) == [ill.id]
    made = Override.objects.get()
    assert (made.user, made.starts_at, made.ends_at, made.swap_id) == (desk, then, MORNING, swap.id)
    assert _asked() == []
    assert sorted(_told()) == [("clinician", "taken"), ("front_desk", "ask"), ("front_desk", "taken")]
    kinds = {(n.kind, ":ask:" in n.key) for n in Notice.objects.all()}
    assert kinds == {(NoticeKind.ASKED, True), (NoticeKind.SWAP, False)}
    actions = list(
        Event.objects.filter(action__startswith="swap:").order_by("seq").values_list("action", "actor")
    )
    assert actions == [("swap:ask", f"user:{ill.login}"), ("swap:accept", f"user:{desk.login}")]


def test_who_is_asked_reads_what_for_and_for_how_long() -> None:
    minutes = f"{swaps.WAIT.total_seconds() / 60:.0f} minut"
    for language, words in (("en", "You are asked to take a shift"), ("es", "Le piden que tome un turno")):
        told = render(Notification(NoticeKind.ASKED, "AB12", language=language), "https://bell.example")
        assert words in told.body and minutes in told.body and minutes in told.short
        assert told.body.endswith("https://bell.example/oncall/\n") and told.pressing


def test_whoever_is_silent_or_declines_is_followed_by_the_next(ill: User, desk: User, boss: User) -> None:
    swap = _ask(ill, desk, boss)
    assert swaps.due(LATE + WAIT - timedelta(seconds=1)) == 0
    assert swaps.due(LATE + WAIT) == 1
    assert swaps.due(LATE + WAIT) == 0
    assert _asked() == ["manager"]
    assert swaps.answer(swap.id, boss, False, LATE + WAIT) is Answered.DECLINED
    swap.refresh_from_db()
    assert swap.state == SwapState.FAILED  # nobody is left: at once, not after the wait
    assert [one["answer"] for one in swap.asked] == ["silent", "no"]
    assert ("clinician", "failed") in _told() and ("manager", "failed") in _told()
    assert swaps.answer(swap.id, desk, True, LATE + 2 * WAIT) is Answered.OVER
    assert not Override.objects.exists()


def test_who_was_silent_may_still_take_it_and_there_is_one_winner(
    house: House, ill: User, desk: User, boss: User
) -> None:
    swap = _ask(ill, desk, boss)
    swaps.due(LATE + WAIT)
    now = LATE + WAIT + timedelta(seconds=5)
    assert swaps.answer(swap.id, desk, True, now) is Answered.TAKEN
    assert swaps.answer(swap.id, boss, True, now) is Answered.LATE
    assert swaps.answer(swap.id, desk, True, now) is Answered.TAKEN  # pressed twice
    assert Override.objects.count() == 1
    assert on_call_ids(house.practice, now) == [desk.id]
    assert swaps.due(now + timedelta(days=2)) == 0


def test_only_who_was_asked_answers(house: House, other: House, ill: User, desk: User, boss: User) -> None:
    swap = _ask(ill, desk, boss)
    for user in (boss, other.people[Role.FRONT_DESK], ill):
        assert swaps.answer(swap.id, user, True, LATE) is Answered.NOT_ASKED
    lock_out(desk, "os:test", LATE)
    desk.refresh_from_db()
    assert swaps.answer(swap.id, desk, True, LATE) is Answered.NOT_ASKED
    assert swaps.answer("x", desk, True, LATE) is Answered.NOT_ASKED


def test_it_asks_only_for_what_is_theirs_and_once(house: House, ill: User, desk: User, boss: User) -> None:
    manager = house.actor(Role.MANAGER, LATE)
    schedule.add_override(manager, desk.id, MORNING, MORNING + timedelta(hours=4))
    with pytest.raises(BadSwap):
        _ask(ill, boss, until=MORNING + timedelta(hours=1))
    for whom in ([], [ill.id], ["nobody"], [house.people[Role.DISPATCHER].id]):
        with pytest.raises(BadSwap):
            swaps.ask(ill, LATE, MORNING, whom, LATE, True)
    with pytest.raises(BadSwap):
        swaps.ask(ill, LATE - timedelta(days=1), LATE, [desk.id], LATE, True)
    _ask(ill, desk)
    with pytest.raises(BadSwap):
        _ask(ill, boss)
    assert Swap.objects.count() == 1


def test_a_schedule_that_was_changed_meanwhile_wins(house: House, ill: User, desk: User, boss: User) -> None:
    swap = _ask(ill, desk)
    schedule.add_override(house.actor(Role.MANAGER, LATE), boss.id, LATE, MORNING)
    assert swaps.answer(swap.id, desk, True, LATE + timedelta(minutes=1)) is Answered.OVER
    swap.refresh_from_db()
    assert swap.state == SwapState.WITHDRAWN
    assert on_call_ids(house.practice, LATE + timedelta(minutes=1)) == [boss.id]
    assert ("clinician", "over") in _told()


def test_a_swap_of_a_swap_covers_it(house: House, ill: User, desk: User, boss: User) -> None:
    swaps.answer(_ask(ill, desk).id, desk, True, LATE)
    later = LATE + timedelta(hours=3)
    again = _ask(desk, boss, now=later)
    assert swaps.answer(again.id, boss, True, later) is Answered.TAKEN
    assert on_call_ids(house.practice, later - timedelta(hours=1)) == [desk.id]
    assert on_call_ids(house.practice, later) == [boss.id]


def test_what_is_far_off_wakes_nobody(ill: User, desk: User) -> None:
    start = MORNING + timedelta(days=3)
    swap = swaps.ask(ill, start, start + timedelta(hours=8), [desk.id], LATE, False)
    assert _asked() == []
    assert swap.next_at == datetime(2026, 11, 25, 9, tzinfo=NEW_YORK)
    swaps.due(LATE + timedelta(hours=3))
    assert _asked() == []
    swaps.due(swap.next_at)
    assert _asked() == ["front_desk"]


def test_a_clock_that_ran_ahead_holds_up_nobody(ill: User, desk: User, boss: User) -> None:
    swap = _ask(ill, desk, boss)
    Swap.objects.filter(pk=swap.id).update(next_at=LATE + timedelta(days=365))
    assert swaps.due(LATE + timedelta(seconds=1)) == 1
    assert _asked() == ["manager"]


def test_a_swap_whose_time_is_over_fails(ill: User, desk: User, boss: User) -> None:
    swap = _ask(ill, desk, boss, until=LATE + timedelta(minutes=3))
    swaps.due(LATE + WAIT)
    swap.refresh_from_db()
    assert swap.state == SwapState.FAILED


def test_by_page_ones_own_or_with_the_right_to_edit(
    house: House, other: House, ill: User, desk: User, boss: User
) -> None:
    whom = [desk.id]
    with pytest.raises(Forbidden):
        swaps.ask_by_page(house.actor(Role.FRONT_DESK, LATE), ill.id, LATE, MORNING, whom)
    with pytest.raises(NotFound):
        swaps.ask_by_page(
            house.actor(Role.MANAGER, LATE), other.people[Role.CLINICIAN].id, LATE, MORNING, whom
        )
    swap = swaps.ask_by_page(house.actor(Role.MANAGER, LATE), ill.id, LATE, MORNING, whom)
    assert Event.objects.get(action="swap:ask").actor == f"user:{boss.login}"
    with pytest.raises(Forbidden):
        swaps.withdraw(house.actor(Role.FRONT_DESK, LATE), swap.id)
    with pytest.raises(NotFound):
        swaps.withdraw(other.actor(Role.MANAGER, LATE), swap.id)
    swaps.withdraw(house.actor(Role.CLINICIAN, LATE), swap.id)
    with pytest.raises(BadSwap):
        swaps.withdraw(house.actor(Role.CLINICIAN, LATE), swap.id)
    assert swaps.answer(swap.id, desk, True, LATE) is Answered.OVER
    assert swaps.due(LATE + timedelta(hours=1)) == 0


def test_the_backup_is_asked_first_then_who_has_the_fewest_nights(
    house: House, ill: User, desk: User, boss: User
) -> None:
    main = Schedule.objects.get(practice=house.practice)
    for night in range(3):
        start = LATE + timedelta(days=1 - night * 2)
        Override.objects.create(schedule=main, user=desk, starts_at=start, ends_at=start + timedelta(hours=6))
    found = swaps.candidates(main, ill, LATE, MORNING)
    assert [(one.user, one.backup, one.nights) for one in found] == [(boss, False, 0), (desk, False, 3)]
    schedule.add_shift(house.actor(Role.MANAGER, LATE), desk.id, 1, 1020, 900, 1)
    assert [one.user for one in swaps.candidates(main, ill, LATE, MORNING)] == [desk, boss]
    own = [duty for _, duty in swaps.turns_of(ill, LATE)]
    assert own[0].starts_at <= LATE < own[0].ends_at
    assert all(a.ends_at <= b.starts_at for a, b in pairwise(own))


ANY = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001


@given(ANY, st.timedeltas(timedelta(hours=-5), timedelta(days=20)))
@settings(suppress_health_check=[HealthCheck.too_slow])  # a crowded machine is slow, not wrong
def test_nobody_is_rung_at_night_for_what_is_not_soon_and_none_too_late(
    now: datetime, ahead: timedelta
) -> None:
    when = swaps.asks_at(now, now + ahead, NEW_YORK)
    assert now <= when <= max(now, now + ahead - swaps.AT_ONCE)
    local = when.astimezone(NEW_YORK)
    soon = now + ahead - when <= swaps.AT_ONCE
    assert soon or 8 <= local.hour < 21
