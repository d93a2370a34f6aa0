"""It got worse: a later call joins the first message, and people are woken anew."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.factories import House, make_message

from nightbell.audit.models import Event
from nightbell.compliance import disposal
from nightbell.compliance.models import DisposalCertificate
from nightbell.core import faults
from nightbell.core.clock import utc_now
from nightbell.core.config import load
from nightbell.core.ids import new_ulid
from nightbell.mailbox import playing, service
from nightbell.mailbox.errors import NotNow
from nightbell.mailbox.models import Message, State
from nightbell.oncall import escalation
from nightbell.oncall.models import Alert
from nightbell.people.roles import Role
from nightbell.sealing import spool
from nightbell.sealing.errors import NoSuchKey
from nightbell.store import vault


def worse(house: House, first: str, **options: object) -> Message:
    told = ((0, "status:heard"), (0, f"joins:{first}"), (0, "recording"), (0, "part:worse"))
    return make_message(house.mailbox, urgent=True, marks=told, **options)


def again(message: Message) -> Message:
    return Message.objects.get(pk=message.pk)


def test_the_first_message_is_urgent_nobodys_and_rings(house: House) -> None:
    first = make_message(house.mailbox)
    addition = worse(house, first.id)
    assert (addition.joins_id, addition.urgency, addition.needs_alert) == (first.id, "urgent", False)
    assert addition.tags == ["status:heard", "worse"]
    first = again(first)
    assert (first.urgency, first.needs_alert, first.state, first.owner) == ("urgent", True, "new", None)
    actor = house.actor(Role.CLINICIAN)
    page = service.inbox(actor)
    assert [row.id for row in page.rows] == [first.id]
    assert page.rows[0].worse_at == addition.received_at
    assert service.counts(actor)["open"] == 1
    assert "worse" in [reason.kind for reason in page.rows[0].reasons]
    view = service.message(actor, first.id)
    assert [one.row.id for one in view.additions] == [addition.id]
    rows = Event.objects.filter(action__in=["message:received", "message:worse"]).order_by("seq")
    assert [(e.action, e.message) for e in rows][1:] == [
        ("message:received", addition.id), ("message:worse", first.id),
    ]  # fmt: skip
    assert Event.objects.filter(action="message:view", message=addition.id).count() == 1


def test_only_the_first_one_rings(house: House) -> None:
    first = make_message(house.mailbox)
    worse(house, first.id)
    later = utc_now() + timedelta(minutes=5)
    assert escalation.start_due(later) == 1
    assert (escalation.find_forgotten(later + timedelta(minutes=5)), Alert.objects.get().message_id) == (
        0,
        first.id,
    )


@pytest.mark.parametrize("closed", [False, True])
def test_it_rings_anew_also_when_somebody_had_it_or_it_was_done(house: House, closed: bool) -> None:
    first = make_message(house.mailbox, urgent=True)
    escalation.start_due(utc_now())
    actor = house.actor(Role.CLINICIAN)
    service.acknowledge(actor, first.id)
    escalation.settle_owned(utc_now())
    if closed:
        service.close(actor, first.id, "reached")
    worse(house, first.id)
    first = again(first)
    assert (first.state, first.owner, first.owned_at) == ("new", None, None)
    assert (first.outcome, first.closed_at, first.closed_by) == ("", None, None)
    assert escalation.start_due(utc_now()) == 1
    assert Alert.objects.get().state == "open"


def test_they_are_taken_closed_reopened_and_given_back_together(house: House) -> None:
    first = make_message(house.mailbox)
    addition = worse(house, first.id)
    actor = house.actor(Role.CLINICIAN)

    def both() -> list[tuple[str, bool, bool]]:
        return [(m.state, m.owner == actor.user, m.needs_alert) for m in (again(first), again(addition))]

    assert service.acknowledge(actor, addition.id).mine, "by the id of either"
    assert both() == [("acknowledged", True, False)] * 2
    service.close(actor, first.id, "reached")
    assert both() == [("closed", True, False)] * 2
    assert [again(addition).outcome, again(first).outcome] == ["reached", "reached"]
    assert [row.id for row in service.inbox(actor, view="done").rows] == [first.id]
    service.reopen(actor, first.id)
    assert both() == [("acknowledged", True, False)] * 2
    service.reopen(actor, first.id)
    assert both() == [("new", False, True), ("new", False, False)]
    service.acknowledge(actor, first.id)
    service.give_back_all(actor.user, "system:test", utc_now())
    assert both() == [("new", False, True), ("new", False, False)]


def test_a_second_worsening_joins_the_first_message_too(house: House) -> None:
    first = make_message(house.mailbox)
    one = worse(house, first.id)
    service.acknowledge(house.actor(Role.CLINICIAN), first.id)
    two = worse(house, one.id)
    assert two.joins_id == first.id
    assert {m.state for m in Message.objects.all()} == {"new"}
    assert len(service.message(house.actor(Role.CLINICIAN), first.id).additions) == 2


def test_who_heard_only_the_first_has_not_heard_it_all(house: House) -> None:
    first, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    playing.sound(actor, first.id, 0, 1000)
    assert not service.inbox(actor).rows[0].unheard
    addition = worse(house, first.id)
    assert service.inbox(actor).rows[0].unheard
    playing.sound(actor, addition.id, 0, 1000)
    assert not service.inbox(actor).rows[0].unheard


def test_it_stands_alone_and_rings_when_there_is_nothing_to_join(house: House, other: House) -> None:
    foreign = make_message(other.mailbox)
    gone = make_message(house.mailbox)
    disposal.dispose(gone, "user:manager", "request", utc_now())
    test = make_message(house.mailbox, marks=((0, "test"), (0, "recording"), (0, "part:message")))
    for target in (foreign.id, gone.id, test.id, new_ulid()):
        alone = worse(house, target, caller="")
        assert (alone.joins, alone.urgency, alone.needs_alert) == (None, "urgent", True)
    assert again(foreign).urgency == "routine"
    assert again(gone).state == State.DISPOSED


def test_nothing_of_it_is_stored_when_it_dies_before_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_message(house.mailbox)

    def die(name: str) -> None:
        if name == "intake.uncommitted":
            raise KeyboardInterrupt

    monkeypatch.setattr(faults, "point", die)
    with pytest.raises(KeyboardInterrupt):
        worse(house, first.id)
    [waits] = spool.waiting(load().spool)
    waits.unlink()  # the next test begins without it
    assert again(first).urgency == "routine"
    assert Message.objects.count() == 1
    assert not Event.objects.filter(action="message:worse").exists()


def test_disposal_takes_additions_along(house: House) -> None:
    first = make_message(house.mailbox)
    addition = worse(house, first.id)
    disposal.dispose(first, "user:manager", "request", utc_now())
    with pytest.raises(NoSuchKey):
        vault.keyring().get(addition.id, "message")
    gone = again(addition)
    assert (gone.state, gone.callback_sealed, gone.caller_sealed, gone.parts, gone.tags) == (
        "disposed", None, None, [], [],
    )  # fmt: skip
    assert DisposalCertificate.objects.filter(message=addition.id).count() == 1


def test_disposal_that_died_half_way_is_gone_through_with(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_message(house.mailbox)
    addition = worse(house, first.id)

    def die(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(faults, "point", die)
        with pytest.raises(KeyboardInterrupt):
            disposal.dispose(first, "user:manager", "request", utc_now())
    disposal.finish_begun(utc_now())
    assert {m.state for m in (again(first), again(addition))} == {"disposed"}


def owned(house: House, now: datetime | None = None) -> Message:
    first = make_message(house.mailbox, urgent=True)
    service.acknowledge(house.actor(Role.CLINICIAN, now), first.id)
    return first


def test_what_got_worse_meanwhile_is_not_closed_by_an_old_page(house: House) -> None:
    first, actor = owned(house), house.actor(Role.CLINICIAN)
    addition = worse(house, first.id)
    for seen in (None, [], ["x\x00", first.id]):
        with pytest.raises(NotNow):
            service.close(actor, addition.id, "reached", seen)
    assert (again(first).state, again(first).needs_alert, again(addition).state) == ("new", True, "new")
    assert not Event.objects.filter(action="message:close").exists()
    service.close(actor, first.id, "reached", [addition.id])
    assert {m.state for m in (again(first), again(addition))} == {"closed"}


def test_one_of_two_that_came_is_not_all_of_it(house: House) -> None:
    first, actor = owned(house), house.actor(Role.CLINICIAN)
    one, two = worse(house, first.id), worse(house, first.id)
    with pytest.raises(NotNow):
        service.close(actor, first.id, "reached", [one.id])
    playing.sound(actor, two.id, 0, 1000)
    service.close(actor, first.id, "reached", [one.id])
    assert again(two).state == "closed"


def test_a_program_that_names_nothing_closes_what_came_before_it_took_it(house: House) -> None:
    first, actor = owned(house), house.actor(Role.CLINICIAN)
    addition = worse(house, first.id)
    service.acknowledge(house.actor(Role.FRONT_DESK), first.id)
    later = worse(house, first.id)
    Message.objects.filter(joins=None).update(state="acknowledged", owned_at=addition.stored_at)
    with pytest.raises(NotNow):
        service.close(actor, first.id, "reached")
    playing.sound(actor, later.id, 0, 1000)
    service.close(actor, first.id, "reached")
    assert again(addition).state == "closed"


def test_it_is_counted_as_unheard_as_the_inbox_does(house: House) -> None:
    first, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    playing.sound(actor, first.id, 0, 1000)
    assert service.counts(actor)["unheard"] == 0
    worse(house, first.id)
    assert service.counts(actor)["unheard"] == service.inbox(actor).unheard_count == 1


def test_an_addition_whose_key_is_gone_is_shown_as_damaged(house: House) -> None:
    first, actor = make_message(house.mailbox), house.actor(Role.CLINICIAN)
    lost, whole = worse(house, first.id), worse(house, first.id)
    vault.keyring().destroy(lost.id)
    view = service.message(actor, first.id)
    assert [one.row.id for one in view.additions] == [lost.id, whole.id]
    assert [reason.kind for reason in view.additions[0].row.reasons] == ["damaged"]
    assert "damaged" not in [reason.kind for reason in view.additions[1].row.reasons]


def test_an_addition_that_comes_while_its_first_message_goes_stands_alone_and_rings(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_message(house.mailbox)
    old = worse(house, first.id)
    came: list[Message] = []

    def call(name: str) -> None:
        if name == "disposal.key" and not came:
            came.append(first)  # of two keys that go, at the first
            came[0] = worse(house, first.id)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(faults, "point", call)
        disposal.dispose(first, "user:manager", "request", utc_now())
    assert {m.state for m in (again(first), again(old))} == {"disposed"}
    assert again(old).joins_id == first.id
    alone = again(came[0])
    assert (alone.joins, alone.state, alone.needs_alert) == (None, "new", True)
    assert [row.id for row in service.inbox(house.actor(Role.CLINICIAN)).rows] == [alone.id]
    assert escalation.start_due(utc_now()) == 1


def test_an_addition_under_a_message_that_is_gone_is_found(house: House) -> None:
    first = make_message(house.mailbox)
    addition = worse(house, first.id)
    Message.objects.filter(pk=first.pk).update(state=State.DISPOSED, needs_alert=False)
    assert escalation.find_forgotten(utc_now() + timedelta(minutes=5)) == 1
    assert (again(addition).joins, again(addition).needs_alert) == (None, True)
