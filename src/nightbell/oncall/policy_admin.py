"""What people do with policies, routes and groups. Each change is one transaction with its row in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Max, ProtectedError

from nightbell.core.errors import NightbellError
from nightbell.mailbox.models import Mailbox, Number, Urgency
from nightbell.oncall import policies
from nightbell.oncall.models import EscalationPolicy, Group, Route, Schedule
from nightbell.oncall.policies import Step, Who
from nightbell.people.access import Actor, NotFound, demand, write
from nightbell.people.models import User
from nightbell.people.roles import Act, Role, may

MOST = 50  # policies, routes or groups a practice
HOURS = ("", "open", "closed")


class BadPolicy(NightbellError):
    """A policy, route or group that cannot be kept. `all`: every reason, in words."""

    def __init__(self, what: str, why: str = "", mend: str = "", reasons: Sequence[str] = ()) -> None:
        super().__init__(what, why, mend)
        self.all = tuple(reasons) or (why,)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that decides who is told: policies, routes in their order, groups. For pages."""

    policies: tuple[EscalationPolicy, ...]
    routes: tuple[Route, ...]
    groups: tuple[Group, ...]


def setup(actor: Actor) -> Setup:
    demand(actor, Act.SCHEDULE)
    mine = EscalationPolicy.objects.filter(practice_id=actor.practice).order_by("name", "id")
    routes = Route.objects.filter(practice_id=actor.practice).select_related(
        "mailbox", "number", "schedule", "policy"
    )
    groups = Group.objects.filter(practice_id=actor.practice).prefetch_related("members")
    return Setup(tuple(mine), tuple(routes.order_by("position", "id")), tuple(groups.order_by("name", "id")))


def takers(actor: Actor) -> list[User]:
    """Who takes messages, and so may be told of them."""
    roles = [role.value for role in Role if may(role, Act.TAKE)]
    found = User.objects.filter(practice_id=actor.practice, is_active=True, role__in=roles)
    return list(found.order_by("name", "id"))


def policy_of(actor: Actor, policy_id: str) -> EscalationPolicy:
    """Raises NotFound."""
    demand(actor, Act.SCHEDULE)
    found = EscalationPolicy.objects.filter(pk=policy_id, practice_id=actor.practice).first()
    if found is None:
        raise NotFound("There is no such policy", "it was removed", "reload the page")
    return found


def reasons(actor: Actor, steps: Sequence[Step]) -> list[str]:
    """What keeps these steps from being kept, in words; [] when they are good. For a draft too."""
    users = [user.id for user in takers(actor)]
    groups = list(Group.objects.filter(practice_id=actor.practice).values_list("id", flat=True))
    found = policies.problems([step.to_json() for step in steps], users, groups)
    for number, step in enumerate(steps[:-1], 1):
        if step.who == Who.LAST_RESORT:
            found.append(f"step {number} tells the last resort, and others come after it: move it to the end")
    return found


def save_policy(actor: Actor, policy_id: str, name: str, steps: Sequence[Step]) -> str:
    """Make a policy (id '') or set one anew, for alerts that start from now on. Returns its id. Raises BadPolicy."""
    demand(actor, Act.EDIT_SCHEDULE)
    name = _named(name, "The policy was not kept")
    stored = [step.to_json() for step in steps]
    with transaction.atomic():
        _hold_groups(actor)
        wrong = reasons(actor, steps)
        if wrong:
            raise BadPolicy("The policy was not kept", wrong[0], "correct the step", wrong)
        if policy_id:
            row = policy_of(actor, policy_id)
            EscalationPolicy.objects.filter(pk=row.pk).update(name=name, steps=stored)
        else:
            _room_for(EscalationPolicy.objects.filter(practice_id=actor.practice).count(), "policies")
            row = EscalationPolicy.objects.create(practice=actor.user.practice, name=name, steps=stored)
        write(actor, "policy:save", detail={"policy": row.id, "steps": stored})
    return str(row.id)


def set_usual(actor: Actor, steps: Sequence[Step]) -> None:
    """The steps of the main schedule: what is done where no route names a policy. () for the built-in ones."""
    demand(actor, Act.EDIT_SCHEDULE)
    stored = [step.to_json() for step in steps]
    with transaction.atomic():
        _hold_groups(actor)
        wrong = reasons(actor, steps) if steps else []
        if wrong:
            raise BadPolicy("The steps were not kept", wrong[0], "correct the step", wrong)
        main, _ = Schedule.objects.get_or_create(practice=actor.user.practice, main=True)
        Schedule.objects.filter(pk=main.pk).update(steps=stored)
        write(actor, "policy:usual", detail={"schedule": main.id, "steps": stored})


def remove_policy(actor: Actor, policy_id: str) -> None:
    """Take a policy away that no route needs. Raises NotFound, BadPolicy."""
    demand(actor, Act.EDIT_SCHEDULE)
    row = policy_of(actor, policy_id)
    try:
        with transaction.atomic():
            if not row.delete()[0]:
                raise NotFound("There is no such policy", "it was removed", "reload the page")
            write(actor, "policy:remove", detail={"policy": policy_id})
    except (ProtectedError, IntegrityError) as error:
        raise BadPolicy(
            "The policy stays", "a rule sends messages to it", "change that rule first"
        ) from error


def _hold_groups(actor: Actor) -> None:
    """Until the end of the transaction no group goes: who removes one and who puts it into a step wait here for each other,
    and then see what the other did."""
    held = Group.objects.select_for_update().filter(practice_id=actor.practice).order_by("id")
    list(held.values_list("id", flat=True))


def _named(name: str, what: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 60 or not name.isprintable():
        raise BadPolicy(what, "its name is empty, too long or broken", "give a short name")
    return name


def _room_for(count: int, what: str) -> None:
    if count >= MOST:
        raise BadPolicy("Nothing was added", f"there are {MOST} {what} already", "remove one first")


@dataclass(frozen=True, slots=True)
class Rule:
    """A route as a person sets it: ids and words as in oncall.models.Route, '' for any, or for what is usual."""

    mailbox: str = ""
    number: str = ""
    urgency: str = ""
    hours: str = ""
    schedule: str = ""
    policy: str = ""
    quiet: bool = False


def add_route(actor: Actor, rule: Rule) -> str:
    """A rule after all others. Returns its id. Raises BadPolicy."""
    demand(actor, Act.EDIT_SCHEDULE)
    try:
        with transaction.atomic():
            return _added(actor, rule)
    except IntegrityError as error:  # it went just now, by somebody else's hand
        raise BadPolicy("The rule was not kept", "what it names was removed", "choose again") from error


def _added(actor: Actor, rule: Rule) -> str:
    """In a transaction, in which what the rule names stays."""
    fields = _checked(actor, rule)
    mine = Route.objects.filter(practice_id=actor.practice)
    _room_for(mine.count(), "rules")
    last = mine.aggregate(last=Max("position"))["last"]
    made = Route.objects.create(
        practice=actor.user.practice, position=0 if last is None else last + 1, **fields
    )
    write(actor, "route:add", detail={"route": made.id, **_told(rule)})
    return str(made.id)


def _checked(actor: Actor, rule: Rule) -> dict[str, object]:
    mine = {"practice_id": actor.practice}
    found = {
        "mailbox": Mailbox.objects.filter(pk=rule.mailbox, **mine).first() if rule.mailbox else None,
        "number": Number.objects.filter(pk=rule.number, mailbox__practice_id=actor.practice).first()
        if rule.number
        else None,
        "schedule": _held(Schedule, pk=rule.schedule, **mine) if rule.schedule else None,
        "policy": _held(EscalationPolicy, pk=rule.policy, **mine) if rule.policy else None,
    }
    for name, row in found.items():
        if getattr(rule, name) and row is None:
            raise BadPolicy("The rule was not kept", f"its {name} is not your practice's", "choose again")
    if rule.urgency not in ("", *Urgency.values) or rule.hours not in HOURS:
        raise BadPolicy("The rule was not kept", "its urgency or hours are none of the list", "choose again")
    if not (rule.schedule or rule.policy or rule.quiet):
        raise BadPolicy(
            "The rule was not kept", "it would change nothing", "choose a schedule, a policy or quiet nights"
        )
    if rule.quiet and rule.urgency == Urgency.URGENT:
        raise BadPolicy(
            "The rule was not kept", "what is urgent never waits for the morning", "leave that out"
        )
    return {**found, "urgency": rule.urgency, "hours": rule.hours, "quiet_until_morning": rule.quiet}


def _held(model: type[Schedule] | type[EscalationPolicy], **which: str) -> Schedule | EscalationPolicy | None:
    """The row, which stays until the transaction ends."""
    return model._default_manager.select_for_update().filter(**which).first()


def _told(rule: Rule) -> dict[str, object]:
    return {name: getattr(rule, name) for name in rule.__slots__ if getattr(rule, name)}


def _route(actor: Actor, route_id: str) -> Route:
    found = Route.objects.filter(pk=route_id, practice_id=actor.practice).first()
    if found is None:
        raise NotFound("There is no such rule", "it was removed", "reload the page")
    return found


def _hold_routes(actor: Actor) -> list[str]:
    """The ids of the rules in their order. Until the end of the transaction nobody else moves one or takes one away."""
    mine = Route.objects.select_for_update().filter(practice_id=actor.practice).order_by("position", "id")
    return list(mine.values_list("id", flat=True))


def remove_route(actor: Actor, route_id: str) -> None:
    """Raises NotFound."""
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        _hold_routes(actor)
        _route(actor, route_id).delete()
        write(actor, "route:remove", detail={"route": route_id})


def move_route(actor: Actor, route_id: str, up: bool) -> None:
    """One place up or down: the first rule that fits counts. Raises NotFound."""
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        order = _hold_routes(actor)
        at = order.index(_route(actor, route_id).id)
        to = max(0, at - 1) if up else min(len(order) - 1, at + 1)
        order.insert(to, order.pop(at))
        for position, one in enumerate(order):
            Route.objects.filter(pk=one).update(position=position)
        write(actor, "route:move", detail={"route": route_id, "place": to + 1})


def group_of(actor: Actor, group_id: str) -> Group:
    """Raises NotFound."""
    found = Group.objects.filter(pk=group_id, practice_id=actor.practice).first()
    if found is None:
        raise NotFound("There is no such group", "it was removed", "reload the page")
    return found


def save_group(actor: Actor, group_id: str, name: str, members: Iterable[str]) -> str:
    """Make a group (id '') or set one anew. Returns its id. Raises BadPolicy, NotFound."""
    demand(actor, Act.EDIT_SCHEDULE)
    name, wanted = _named(name, "The group was not kept"), set(members)
    able = [user for user in takers(actor) if user.id in wanted]
    if not able or len(able) != len(wanted):
        raise BadPolicy(
            "The group was not kept", "nobody is in it, or somebody who takes no messages", "choose"
        )
    with transaction.atomic():
        _hold_groups(actor)
        if group_id:
            row = group_of(actor, group_id)
            Group.objects.filter(pk=row.pk).update(name=name)
        else:
            _room_for(Group.objects.filter(practice_id=actor.practice).count(), "groups")
            row = Group.objects.create(practice=actor.user.practice, name=name)
        row.members.set(able)
        write(actor, "group:save", detail={"group": row.id, "users": sorted(user.login for user in able)})
    return str(row.id)


def remove_group(actor: Actor, group_id: str) -> None:
    """Take a group away that no policy tells. Raises NotFound, BadPolicy."""
    demand(actor, Act.EDIT_SCHEDULE)
    with transaction.atomic():
        _hold_groups(actor)
        row = group_of(actor, group_id)
        stored = [one.steps for one in EscalationPolicy.objects.filter(practice_id=actor.practice)]
        stored += [one.steps for one in Schedule.objects.filter(practice_id=actor.practice)]
        for steps in stored:
            if any(step.id == row.id for step in policies.read_steps(steps)):
                raise BadPolicy("The group stays", "a policy tells it", "change that policy first")
        if not row.delete()[0]:
            raise NotFound("There is no such group", "it was removed", "reload the page")
        write(actor, "group:remove", detail={"group": group_id})
