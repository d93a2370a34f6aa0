"""Who is told: policies step by step, rules that send messages to a schedule and a policy, groups, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from nightbell.core.errors import NightbellError
from nightbell.mailbox.models import Mailbox, Number
from nightbell.oncall import policies as rules
from nightbell.oncall import policy_admin as admin
from nightbell.oncall import schedule as oncall
from nightbell.oncall import standing
from nightbell.oncall.models import EscalationPolicy, Route
from nightbell.oncall.policies import Step, Who
from nightbell.oncall.policy_admin import BadPolicy, Rule, Setup
from nightbell.oncall.roster import last_resort_of
from nightbell.people.access import Actor
from nightbell.people.models import User
from nightbell.people.roles import Act
from nightbell.web import oncall_forms as forms
from nightbell.web import recorded
from nightbell.web.doors import actor_of, allows, ulid_if_any, ulid_or_nothing
from nightbell.web.format import phone
from nightbell.web.oncall_words import WAYS, WHO, length, minutes, rule_words, sentence
from nightbell.web.present import short_name

DID = {
    "kept": "Kept. Alerts that ring already go on as they began.",
    "built_in": "Kept without steps of your own: the built-in ones hold again.",
    "removed": "Removed.",
    "moved": "Moved. The first rule that fits counts.",
    "recording": "Decided. From now on patients are asked, and recorded who agree.",
    "unrecorded": "Withdrawn. Nobody is asked, and nothing is recorded.",
}
URGENCIES = (("", "any urgency"), ("urgent", "urgent"), ("review", "needs a look"), ("routine", "routine"))
HOURS = (("", "at any hour"), ("open", "while open"), ("closed", "while closed"))
USUAL = "usual"


@require_GET
@allows(Act.SCHEDULE)
def policies(request: HttpRequest) -> HttpResponse:
    """`/oncall/policies`"""
    return listed(request)


def listed(request: HttpRequest, trouble: NightbellError | None = None, form: str = "") -> HttpResponse:
    """The page. form: whose words were refused, 'rule' or 'recording'."""
    actor, setup = actor_of(request), admin.setup(actor_of(request))
    names, now = _names(actor, setup), _now(actor)
    main = next((one for one in oncall.schedules(actor) if one.main), None)
    usual = rules.read_steps(main.steps) if main else ()
    did = request.GET.get("did", "")
    mine = {"practice_id": actor.practice}
    context = {
        "here": "oncall", "may_edit": actor.may(Act.EDIT_SCHEDULE), "trouble": trouble,
        "nobody": standing.nobody_now(actor), "usual": minutes(usual or rules.DEFAULT_STEPS, names, now), "usual_own": bool(usual),
        "policies": [_policy(one, names, now) for one in setup.policies],
        "routes": [_route(one) for one in setup.routes], "groups": _groups(setup), "fallback": now["last_resort"],
        "mailboxes": Mailbox.objects.filter(**mine).order_by("position", "name"),
        "numbers": [(n.dialled, phone(n.dialled)) for n in Number.objects.filter(mailbox__practice_id=actor.practice)],
        "chosen": main, "all_schedules": oncall.schedules(actor), "urgencies": URGENCIES, "hours": HOURS,
        "takers": admin.takers(actor), "r": request.POST.dict() if form == "rule" else {},
        "toast": {"text": DID[did]} if did in DID else None,
        "recording": recorded.decision(actor, request.POST.dict() if form == "recording" else {}),
    }  # fmt: skip
    return render(request, "pages/oncall_policies.html", context, status=422 if trouble else 200)


def _names(actor: Actor, setup: Setup) -> dict[str, str]:
    """Of people and groups, by id."""
    users = dict(User.objects.filter(practice_id=actor.practice).values_list("id", "name"))
    return {pk: short_name(name) for pk, name in users.items()} | {g.id: g.name for g in setup.groups}


def _now(actor: Actor) -> dict[str, str]:
    """Who that is at this moment, by Who."""
    there = oncall.there(actor)
    order = [short_name(user.name) for user, _ in there.order]
    fallback = short_name(there.change.fallback) if there.change.fallback else "the managers"
    return {
        Who.ON_CALL: order[0] if order else "nobody: the last resort",
        Who.NEXT: order[1] if len(order) > 1 else "nobody: the last resort",
        Who.LAST_RESORT: fallback,
    }


def _policy(one: EscalationPolicy, names: dict[str, str], now: dict[str, str]) -> dict[str, Any]:
    steps = rules.read_steps(one.steps)
    return {
        "id": one.id,
        "name": one.name,
        "words": sentence(steps, names, now) if steps else "",
        "used": Route.objects.filter(policy=one).exists(),
    }


def _route(one: Route) -> dict[str, Any]:
    then = []
    if one.schedule:
        then.append(f"who is on call by {one.schedule.name}")
        person, address = last_resort_of(one.schedule)
        last = short_name(person.name) if person else address
        then.append(f"at last {last or 'the managers'}")
    if one.policy:
        then.append(f"the policy {one.policy.name}")
    elif one.urgency not in ("", "urgent"):
        then.append("nobody is woken" if not one.schedule else "")
    return {
        "id": one.id,
        "words": rule_words(
            one.mailbox.name if one.mailbox else "", phone(one.number_id) if one.number_id else "",
            one.urgency, one.hours,
        ),
        "then": ", ".join(part for part in then if part) or "as usual",
        "quiet": one.quiet_until_morning,
    }  # fmt: skip


def _groups(setup: Setup) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "name": one.name,
            "ids": [member.id for member in one.members.all()],
            "members": ", ".join(sorted(short_name(m.name) for m in one.members.all() if m.is_active)),
        }
        for one in setup.groups
    ]


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_SCHEDULE)
def add_policy(request: HttpRequest) -> HttpResponse:
    """`/oncall/policy/new`"""
    return _editor(request, "", "", ())


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_SCHEDULE)
def policy(request: HttpRequest, policy_id: str) -> HttpResponse:
    """`/oncall/policy/ID`"""
    row = admin.policy_of(actor_of(request), ulid_or_nothing(policy_id))
    return _editor(request, row.id, row.name, rules.read_steps(row.steps))


@require_http_methods(["GET", "POST"])
@allows(Act.EDIT_SCHEDULE)
def usual(request: HttpRequest) -> HttpResponse:
    """`/oncall/policies/usual`: the steps where no rule names a policy."""
    actor = actor_of(request)
    main = next((one for one in oncall.schedules(actor) if one.main), None)
    return _editor(request, USUAL, "", rules.read_steps(main.steps) if main else ())


def _editor(request: HttpRequest, policy_id: str, name: str, stored: Sequence[Step]) -> HttpResponse:
    """Steps as rows. `look` shows what would happen without keeping anything."""
    actor, trouble = actor_of(request), None
    steps: Sequence[Step] = stored or rules.DEFAULT_STEPS
    setup = admin.setup(actor)
    if request.method == "POST":
        name = request.POST.get("name", "")[:80]
        try:
            steps = forms.steps(request, lambda why, mend: BadPolicy("Nothing was kept", why, mend))
            if "look" not in request.POST:
                return _kept(actor, policy_id, name, steps)
            wrong = admin.reasons(actor, steps)
            if wrong:
                raise BadPolicy("These steps cannot be kept", wrong[0], "correct them", wrong)
        except BadPolicy as error:
            trouble = error
    names, now = _names(actor, setup), _now(actor)
    context = {
        "here": "oncall", "one": policy_id, "usual": policy_id == USUAL, "name": name, "trouble": trouble,
        "steps": _rows(request, steps), "choices": _choices(actor, setup, names), "ways": list(WAYS.items()),
        "minutes": minutes(steps, names, now) if steps else (), "fallback": now["last_resort"],
        "total": length(round(rules.longest_round(rules.freeze(steps)).total_seconds())), "looked": "look" in request.POST,
    }  # fmt: skip
    return render(request, "pages/oncall_policy.html", context, status=422 if trouble else 200)


def _kept(actor: Actor, policy_id: str, name: str, steps: Sequence[Step]) -> HttpResponse:
    if policy_id == USUAL:
        admin.set_usual(actor, steps)
        return _done("kept" if steps else "built_in")
    admin.save_policy(actor, policy_id, name, steps)
    return _done("kept")


def _rows(request: HttpRequest, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The rows of the form: as typed, else as stored."""
    if request.method == "POST":
        return [
            {
                "key": key,
                "who": request.POST.get(f"who-{key}", "")[:40],
                "how": request.POST.getlist(f"how-{key}"),
                "wait": request.POST.get(f"wait-{key}", "")[:10],
            }
            for key in forms.rows(request)
        ]
    return [
        {
            "key": f"s{n}",
            "who": f"{step.who.value}:{step.id}" if step.id else step.who.value,
            "how": list(step.how or rules.WAYS),
            "wait": forms.wait_text(step.wait_s),
        }
        for n, step in enumerate(steps)
    ]


def _choices(actor: Actor, setup: Setup, names: dict[str, str]) -> list[tuple[str, str]]:
    """Whom a step may tell, as the values of a list."""
    found = [(who.value, words) for who, words in WHO.items()]
    found += [(f"group:{one.id}", f"Group: {one.name}") for one in setup.groups]
    return found + [(f"user:{one.id}", names.get(one.id, one.name)) for one in admin.takers(actor)]


def _done(did: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('policies')}?did={did}")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_policy(request: HttpRequest, policy_id: str) -> HttpResponse:
    try:
        admin.remove_policy(actor_of(request), ulid_or_nothing(policy_id))
    except BadPolicy as error:
        return listed(request, error)
    return _done("removed")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_route(request: HttpRequest) -> HttpResponse:
    """A rule, after all others."""
    typed = request.POST
    rule = Rule(
        ulid_if_any(typed.get("mailbox", ""), "mailbox"), typed.get("number", "")[:40], typed.get("urgency", "")[:10],
        typed.get("hours", "")[:6], ulid_if_any(typed.get("schedule", ""), "schedule"),
        ulid_if_any(typed.get("policy", ""), "policy"), typed.get("quiet") == "1",
    )  # fmt: skip
    try:
        admin.add_route(actor_of(request), rule)
    except BadPolicy as error:
        return listed(request, error, "rule")
    return _done("kept")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_route(request: HttpRequest, route_id: str) -> HttpResponse:
    admin.remove_route(actor_of(request), ulid_or_nothing(route_id))
    return _done("removed")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def move_route(request: HttpRequest, route_id: str) -> HttpResponse:
    admin.move_route(actor_of(request), ulid_or_nothing(route_id), request.POST.get("to") == "up")
    return _done("moved")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def add_group(request: HttpRequest) -> HttpResponse:
    return _group(request, "")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def save_group(request: HttpRequest, group_id: str) -> HttpResponse:
    return _group(request, admin.group_of(actor_of(request), ulid_or_nothing(group_id)).id)


def _group(request: HttpRequest, group_id: str) -> HttpResponse:
    members = [one for text in request.POST.getlist("member")[:200] if (one := ulid_or_nothing(text))]
    try:
        admin.save_group(actor_of(request), group_id, request.POST.get("name", ""), members)
    except BadPolicy as error:
        return listed(request, error)
    return _done("kept")


@require_POST
@allows(Act.EDIT_SCHEDULE)
def remove_group(request: HttpRequest, group_id: str) -> HttpResponse:
    try:
        admin.remove_group(actor_of(request), ulid_or_nothing(group_id))
    except BadPolicy as error:
        return listed(request, error)
    return _done("removed")
