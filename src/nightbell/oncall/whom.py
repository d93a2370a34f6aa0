"""From a decision to people and their ways: who is there, how each may be told, and who is told when nobody is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from nightbell.oncall import policies
from nightbell.oncall.models import Alert, Group, Schedule
from nightbell.oncall.policies import Facts, Policy, Telling, Who
from nightbell.oncall.roster import on_call_ids
from nightbell.people import contacts
from nightbell.people.models import Contact, ContactKind, User
from nightbell.people.roles import Act, Role, may

URGENT = "urgent"
NO_WAY = "told nobody: no proved way to this person"
SILENT = "not told: silent hours"
NOBODY = "nobody to tell: set a fallback"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to tell somebody. user None: the fallback address, which belongs to nobody."""

    user: User | None
    channel: str  # of ContactKind
    address: str
    contact: Contact | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom a step tells, and whom it meant and cannot tell, with the reason in words."""

    ways: tuple[Way, ...]
    untold: tuple[tuple[User, str], ...]

    @property
    def in_vain(self) -> bool:
        """Nobody is told, and waiting would not change that."""
        return not self.ways and all(why == NO_WAY for _, why in self.untold)

    @property
    def is_somebody(self) -> bool:
        """Whether somebody is told, or will be when their silent hours are over."""
        return bool(self.ways) or any(why == SILENT for _, why in self.untold)


def facts(alert: Alert, policy: Policy | None, now: datetime) -> Facts:
    """Who is there now, as far as this policy asks."""
    asked = {step.who for step in policy.steps} if policy else {Who.ON_CALL}
    return Facts(
        tuple(on_call_ids(alert.practice, now, alert.schedule)),
        _groups(alert) if Who.GROUP in asked else {},
        _everybody(alert, False) if asked & {Who.ALL, Who.USER} else (),
        _everybody(alert, True) if Who.USER in asked else (),
    )


def _groups(alert: Alert) -> dict[str, tuple[str, ...]]:
    found = Group.objects.filter(practice_id=alert.practice_id).prefetch_related("members")
    return {g.id: tuple(sorted(m.id for m in g.members.all() if m.is_active)) for g in found}


def _everybody(alert: Alert, covering: bool) -> tuple[str, ...]:
    """Those who take messages: colleagues, or those of another practice who cover."""
    roles = [role.value for role in Role if may(role, Act.TAKE)]
    found = User.objects.filter(practice_id=alert.practice_id, is_active=True, role__in=roles)
    found = found.exclude(home=None) if covering else found.filter(home=None)
    return tuple(found.order_by("id").values_list("id", flat=True))


def resolve(alert: Alert, policy: Policy | None, telling: Telling, now: datetime) -> Plan:
    """The ways of a decision. Of a person who has none of the ways that a step names, every proved way."""
    if alert.message.mailbox_id is None:
        found = of(managers(alert.practice_id), alert.urgency, now)  # nobody else sees an unrouted message
        if found.ways:
            return found
    found = of(_active(telling.users), alert.urgency, now, telling.how)
    if not telling.last_resort:
        return found
    last = last_resort(alert, policy, now)
    return Plan(_once([*found.ways, *last.ways]), (*found.untold, *last.untold))


def of(users: Iterable[User], urgency: str, now: datetime, how: Sequence[str] = ()) -> Plan:
    """All ways to these people, or those of the kinds `how`."""
    told: list[Way] = []
    untold = []
    for user in users:
        found = contacts.ways(user, now, urgency == URGENT)
        chosen = [one for one in found if one.kind in how] or found
        told += [Way(user, one.kind, one.address, one) for one in chosen]
        if not found:
            silent = urgency != URGENT and contacts.ways(user, now, True)
            untold.append((user, SILENT if silent else NO_WAY))
    return Plan(_once(told), tuple(untold))


def _once(ways: Sequence[Way]) -> tuple[Way, ...]:
    """One way to an address, whoever shares it."""
    found: dict[tuple[str, str], Way] = {}
    for way in ways:
        found.setdefault((way.channel, way.address), way)
    return tuple(found.values())


def _active(ids: Sequence[str]) -> list[User]:
    found = User.objects.filter(is_active=True).select_related("practice").in_bulk(list(ids))
    return [found[i] for i in ids if i in found]


def last_resort(alert: Alert, policy: Policy | None, now: datetime) -> Plan:
    """Never nobody, as far as the practice has anybody: as frozen; else as the schedule has it now; else as the main
    schedule has it; else all managers."""
    frozen = _last(policy.last_user, policy.last_email, alert, now) if policy else Plan((), ())
    if frozen.is_somebody:
        return frozen
    main = Schedule.objects.filter(practice_id=alert.practice_id, main=True).first()
    current = Plan((), ())
    for schedule in (alert.schedule, main):
        if schedule is not None:
            current = _last(schedule.fallback_id or "", schedule.fallback_email, alert, now)
        if current.is_somebody:
            return current
    led = of(managers(alert.practice_id), alert.urgency, now)
    return Plan(led.ways, led.untold or frozen.untold or current.untold)


def _last(user_id: str, email: str, alert: Alert, now: datetime) -> Plan:
    found = of(_active([user_id]) if user_id else [], alert.urgency, now)
    office = [Way(None, ContactKind.EMAIL.value, email, None)] if email else []
    return Plan(_once([*found.ways, *office]), found.untold)


def managers(practice_id: str) -> list[User]:
    """Those who see the unrouted tray."""
    found = User.objects.filter(practice_id=practice_id, is_active=True).select_related("practice")
    return [user for user in found.order_by("id") if may(user.role, Act.UNROUTED)]


def next_names(alert: Alert) -> tuple[str, ...]:
    """Who will be told next, by name, for people to see; () when that cannot be said."""
    policy = policies.read_policy(alert.policy)
    there = facts(alert, policy, alert.next_at)
    number = alert.step - alert.began
    telling = policies.tell(policy, number, there, alert.next_at, alert.urgency)
    plan = resolve(alert, policy, telling, alert.next_at)
    people = [way.user for way in plan.ways if way.user] or [user for user, _ in plan.untold]
    return tuple(dict.fromkeys(user.name for user in people))
