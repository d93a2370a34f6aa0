"""Drafts and versions: what is kept, who is refused, and that nobody's change is lost without a word."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.flow.hours import Day
from nightbell.flow.plan import BadPlan, MenuKey, Plan
from nightbell.line import service
from nightbell.line.models import Draft, Version
from nightbell.line.state import CHANGED, first_version
from nightbell.people.access import Actor, Forbidden, NotFound
from nightbell.people.roles import Act, Role, may
from nightbell.store.models import Flag

EARLY = (Day(510, 1020, None), *Plan().week[1:])


def manager(house: House) -> Actor:
    return house.actor(Role.MANAGER)


def colleague(house: House) -> Actor:
    """Another manager: the clinician with a new role."""
    user = house.people[Role.CLINICIAN]
    user.role = Role.MANAGER
    user.save()
    return Actor(user, "192.0.2.8", "session-colleague", utc_now())


def actions() -> list[str]:
    return list(
        Event.objects.filter(action__startswith="line:").order_by("seq").values_list("action", flat=True)
    )


def test_a_practice_without_a_line_gets_the_usual_one(house: House) -> None:
    seen = service.draft(manager(house))
    assert (seen.plan, seen.revision, seen.base, seen.there, seen.changes) == (Plan(), 0, 1, False, [])
    assert seen.report.problems == ()
    assert seen.report.ways > 50
    assert first_version(house.practice, utc_now()).number == 1
    assert actions() == ["line:publish"]


def test_recordings_of_an_older_installation_are_taken_over(house: House) -> None:
    name = f"clips:{house.practice.id}"
    Flag.objects.create(name=name, value='{"practice-name": "builtin:demo-practice-1"}', changed_at=utc_now())
    first_version(house.practice, utc_now())
    assert service.plan_of(service.current(house.practice.id)).clips == {
        "en/practice-name": "builtin:demo-practice-1", "es/practice-name": "builtin:demo-practice-1",
    }  # fmt: skip
    assert not Flag.objects.filter(name=name).exists()


def test_a_saved_draft_is_not_live_until_it_is_published(house: House) -> None:
    actor = manager(house)
    assert service.save(actor, 0, replace(Plan(), week=EARLY)) == 1
    assert service.plan_of(service.current(house.practice.id)) == Plan()
    seen = service.draft(actor)
    assert (seen.changes, seen.revision, seen.base, seen.there) == (["Monday now opens 8:30"], 1, 1, True)
    assert seen.changed_by == actor.user.name
    made = service.publish(actor, 1)
    assert made.number == 2
    assert service.plan_of(service.current(house.practice.id)).week == EARLY
    assert not service.draft(actor).there
    assert actions() == ["line:publish", "line:save", "line:publish"]


def test_versions_tell_who_changed_what(house: House) -> None:
    actor = manager(house)
    service.publish(actor, service.save(actor, 0, replace(Plan(), week=EARLY)))
    service.bring_back(actor, 1)
    rows = service.versions(actor)
    assert [(row.number, row.live, row.brought_back) for row in rows] == [
        (3, True, 1), (2, False, None), (1, False, None),
    ]  # fmt: skip
    assert [row.changes for row in rows] == [["Monday now opens 8:00"], ["Monday now opens 8:30"], []]
    assert [row.made_by for row in rows] == [actor.user.name, actor.user.name, "Nightbell"]
    assert [row.number for row in service.versions(actor, limit=1)] == [3]
    assert service.versions(actor, limit=1)[0].changes == ["Monday now opens 8:00"]


def test_who_edits_from_an_old_page_is_told_who_was_faster(house: House) -> None:
    first, second = manager(house), colleague(house)
    service.draft(second)
    service.save(first, 0, replace(Plan(), week=EARLY))
    with pytest.raises(service.Stale) as stale:
        service.save(second, 0, Plan(max_seconds=120))
    assert stale.value.by == first.user.name
    assert stale.value.at == first.now
    assert service.draft(first).plan.week == EARLY


def test_an_old_page_is_told_even_when_the_draft_is_gone(house: House) -> None:
    first, second = manager(house), colleague(house)
    seen = service.draft(second).revision
    service.publish(first, service.save(first, 0, replace(Plan(), week=EARLY)))
    with pytest.raises(service.Stale):
        service.save(second, seen, Plan(max_seconds=120))
    service.discard(first, service.save(first, service.draft(first).revision, Plan(max_seconds=90)))
    with pytest.raises(service.Stale):
        service.publish(second, 1)


def test_a_draft_does_not_undo_what_was_brought_back_meanwhile(house: House) -> None:
    first, second = manager(house), colleague(house)
    service.publish(first, service.save(first, 0, replace(Plan(), week=EARLY)))
    revision = service.save(first, service.draft(first).revision, replace(Plan(), week=EARLY, max_seconds=90))
    service.bring_back(second, 1)
    with pytest.raises(service.Stale) as stale:
        service.publish(first, revision)
    assert stale.value.by == second.user.name
    again = service.draft(first)
    assert "Monday now opens 8:30" in again.changes
    assert again.base == 3


def test_a_published_version_is_never_changed(house: House) -> None:
    actor = manager(house)
    service.publish(actor, service.save(actor, 0, replace(Plan(), week=EARLY)))
    before = list(Version.objects.order_by("number").values())
    service.bring_back(actor, 1)
    service.save(actor, service.draft(actor).revision, Plan(max_seconds=90))
    assert list(Version.objects.order_by("number").values())[:2] == before


def test_a_discarded_draft_leaves_the_line_as_it_was(house: House) -> None:
    actor = manager(house)
    service.discard(actor, service.save(actor, 0, Plan(max_seconds=90)))
    assert not service.draft(actor).there
    with pytest.raises(NotFound):
        service.publish(actor, service.draft(actor).revision)
    assert service.current(house.practice.id).number == 1


def test_the_same_plan_again_is_no_new_version(house: House) -> None:
    actor = manager(house)
    with pytest.raises(NotFound):
        service.publish(actor, service.save(actor, 0, Plan()))
    assert Version.objects.count() == 1


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(keys=(MenuKey("1", "own-key-1"),)), "no words in English"),
        (Plan(week=(Day(600, 540, None), *Plan().week[1:])), "not after it opens"),
        (Plan(clips={"en/practice-name": "builtin:no-such-clip"}), "no such recording"),
    ],
)
def test_a_plan_with_problems_may_be_kept_but_not_published(house: House, plan: Plan, words: str) -> None:
    actor = manager(house)
    revision = service.save(actor, 0, plan)
    assert any(words in one.what for one in service.draft(actor).report.problems)
    with pytest.raises(service.NotReady) as refused:
        service.publish(actor, revision)
    assert any(words in one.what for one in refused.value.problems)
    assert service.current(house.practice.id).number == 1
    assert service.draft(actor).there


def test_what_is_another_practices_is_no_plan(house: House, other: House) -> None:
    actor = manager(house)
    theirs = MenuKey("1", "menu-routine", mailbox=other.mailbox.id)
    for plan in (
        Plan(keys=(theirs,)),
        Plan(state="XX"),
        Plan(clips={"en/practice-name": "0" * 64}),
        Plan(clips={"en/no-such-place": "builtin:goodbye"}),
        Plan(max_seconds=5),
    ):
        with pytest.raises(BadPlan):
            service.save(actor, 0, plan)
    assert not Draft.objects.filter(practice=house.practice).exclude(plan="").exists()


def test_a_key_names_the_mailbox_that_it_leads_to(house: House) -> None:
    actor = manager(house)
    keys = (*Plan().keys[:2], MenuKey("3", "menu-refill", mailbox=house.second.id, asks="refill"))
    service.save(actor, 0, Plan(keys=keys))
    assert "Key 3 now leads to Réfills, waits until you open" in " ".join(service.draft(actor).changes)


def test_only_a_manager_changes_the_line_and_only_their_own(house: House, other: House) -> None:
    service.publish(manager(house), service.save(manager(house), 0, Plan(max_seconds=90)))
    for role in Role:
        actor = house.actor(role)
        assert may(role, Act.VIEW_LINE)
        assert service.versions(actor)[0].number == 2
        if role == Role.MANAGER:
            continue
        for attempt in (
            lambda actor=actor: service.save(actor, 2, Plan()),
            lambda actor=actor: service.publish(actor, 2),
            lambda actor=actor: service.bring_back(actor, 1),
            lambda actor=actor: service.discard(actor, 2),
            lambda actor=actor: service.use_clip(actor, 2, "practice-name", "en", ""),
            lambda actor=actor: service.close_now(actor, visits=False),
            lambda actor=actor: service.reopen_now(actor),
            lambda actor=actor: service.try_number(actor),
            lambda actor=actor: service.remove_closure(actor, "x"),
            lambda actor=actor: service.add_closure(actor, utc_now(), utc_now() + timedelta(hours=1), False),
        ):
            with pytest.raises(Forbidden):
                attempt()
    assert [row.number for row in service.versions(manager(other))] == [1]
    with pytest.raises(NotFound):
        service.bring_back(manager(other), 2)


def test_the_worker_hears_of_a_change_when_it_is_committed(
    house: House, django_capture_on_commit_callbacks: object
) -> None:
    marker = load().home / "run" / CHANGED
    marker.unlink(missing_ok=True)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        service.close_now(manager(house), visits=False)
        assert not marker.exists()
    assert marker.exists()
