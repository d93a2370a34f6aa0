"""Who is told, and how: policies and rules, the ladder of a message, one's own ways, tests and drills."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import pytest
from tests.db.web.conftest import Https, spoken_message
from tests.db.web.oncall_pages import actions, body
from tests.factories import House

from nightbell.audit.models import Event
from nightbell.core.clock import iso, utc_now
from nightbell.mailbox import service as mailbox
from nightbell.oncall import escalation, policies, standing
from nightbell.oncall.models import (
    Alert,
    Attempt,
    EscalationPolicy,
    Group,
    LineTest,
    Route,
    Schedule,
    Shift,
)
from nightbell.oncall.policies import Step, Who
from nightbell.people.models import Contact, Pin
from nightbell.people.roles import Role
from nightbell.web import oncall_words
from nightbell.web.views import contacts as contacts_page


def steps(*rows: tuple[str, str, list[str]]) -> dict[str, Any]:
    form: dict[str, Any] = {"row": [f"s{n}" for n in range(len(rows))]}
    for n, (who, wait, how) in enumerate(rows):
        form |= {f"who-s{n}": who, f"wait-s{n}": wait, f"how-s{n}": how}
    return form


ALL = list(policies.WAYS)


def test_a_policy_is_made_looked_at_and_sent_messages(house: House, manager: Https) -> None:
    desk = house.people[Role.FRONT_DESK]
    manager.post("/oncall/group/add", {"name": "Nurses", "member": [desk.id]})
    group = Group.objects.get()
    form = steps(("on_call", "2:30", ["voice"]), (f"group:{group.id}", "5", ALL)) | {"name": "Nights"}
    page = body(manager.post("/oncall/policy/new", form | {"look": "1"}))
    assert not EscalationPolicy.objects.exists(), "a look keeps nothing"
    assert "by phone call" in page and "Nurses" in page and "is told after 7 min 30 s" in page
    assert manager.post("/oncall/policy/new", form).status_code == 302
    made = EscalationPolicy.objects.get()
    assert policies.read_steps(made.steps) == (
        Step(Who.ON_CALL, 150, "", ("voice",)),
        Step(Who.GROUP, 300, group.id),
    )
    route = {"mailbox": house.second.id, "urgency": "routine", "policy": made.id, "quiet": "1"}
    assert manager.post("/oncall/route/add", route).status_code == 302
    row = Route.objects.get()
    assert (row.mailbox, row.policy, row.quiet_until_morning) == (house.second, made, True)
    page = body(manager.get("/oncall/policies"))
    assert "Routine messages to Réfills" in page and "the policy Nights" in page
    assert "At once who is on call" in page and "again every 5 minutes until somebody takes it" in page
    assert manager.post(f"/oncall/policy/{made.id}/remove").status_code == 422, "a rule needs it"
    assert manager.post(f"/oncall/group/{group.id}/remove").status_code == 422, "the policy needs it"
    for path in (f"route/{row.id}", f"policy/{made.id}", f"group/{group.id}"):
        assert manager.post(f"/oncall/{path}/remove").status_code == 302
    assert [a for a in actions() if a.startswith(("policy", "route", "group"))] == [
        "group:save", "policy:save", "route:add", "route:remove", "policy:remove", "group:remove",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "a policy has at least one step"),
        ([("on_call", "61", ALL)], "the wait of step 1 cannot be read"),
        ([("on_call", "2", [])], "step 1 tells by no way"),
        (
            [("user:01M85Z4AV1M2ZEPJAXKYN2FSHQ", "2", ALL)],
            "step 1 tells somebody who is not in your practice",
        ),
        ([("somebody", "2", ALL)], "step 1 tells nobody that we know"),
        ([("last_resort", "2", ALL), ("on_call", "2", ALL)], "move it to the end"),
    ],
)
def test_a_policy_that_makes_no_sense(manager: Https, rows: list[Any], told: str) -> None:
    answer = manager.post("/oncall/policy/new", steps(*rows) | {"name": "Nights"})
    assert answer.status_code == 422 and told in body(answer).casefold()
    assert not EscalationPolicy.objects.exists()


def test_rules_stand_in_an_order_and_change_something(house: House, manager: Https) -> None:
    assert manager.post("/oncall/route/add", {"urgency": "review"}).status_code == 422
    answer = manager.post("/oncall/route/add", {"urgency": "urgent", "quiet": "1"})
    assert "never waits for the morning" in body(answer)
    for urgency in ("review", "routine"):
        manager.post("/oncall/route/add", {"urgency": urgency, "quiet": "1"})
    last = Route.objects.order_by("position").last()
    assert last is not None and last.urgency == "routine"
    manager.post(f"/oncall/route/{last.id}/move", {"to": "up"})
    assert [r.urgency for r in Route.objects.order_by("position")] == ["routine", "review"]


def test_the_usual_steps_are_the_schedules(house: House, manager: Https) -> None:
    assert "Nobody has changed it yet" in body(manager.get("/oncall/policies"))
    manager.post("/oncall/policies/usual", steps(("all", "1", ["sms", "voice"])))
    stored = Schedule.objects.get().steps
    assert stored == [{"who": "all", "id": "", "how": ["sms", "voice"], "wait_s": 60}]


def test_steps_without_a_row_are_the_built_in_ones_and_said_to_be(house: House, manager: Https) -> None:
    manager.post("/oncall/policies/usual", steps(("all", "1", ["sms", "voice"])))
    answer = manager.post("/oncall/policies/usual", {})
    assert Schedule.objects.get().steps == []
    page = body(manager.get(answer["Location"]))
    assert "Kept without steps of your own: the built-in ones hold again." in page
    assert "Nobody has changed it yet" in page


def test_who_is_told_says_in_red_that_nobody_is_on_call(
    house: House, manager: Https, clinician: Https, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Nobody is on call now" not in body(manager.get("/oncall/policies"))
    Shift.objects.all().delete()
    page = body(manager.get("/oncall/policies"))
    red = re.search(r'<section class="nb-alert.*?</section>', page)
    assert red and 'font-semibold text-urgent">' in red[0] and "Nobody is on call now" in red[0]
    assert "tells the last resort at once: Manager Núñez." in red[0]
    assert re.search(r'href="/oncall/plan">Change the plan<', red[0])
    assert 'href="/oncall/plan">Show the plan<' in body(clinician.get("/oncall/policies"))
    Schedule.objects.update(fallback=None)
    assert "tells the last resort at once: the managers." in body(manager.get("/oncall/policies"))
    monkeypatch.setattr(standing.gaps, "staffed", lambda _practice, start, end: [(start, end)])
    page = body(manager.get("/oncall/policies"))
    assert "Nobody is on call now" in page and "The practice is open." in page and "nb-alert" not in page


def test_what_happens_minute_by_minute() -> None:
    found = oncall_words.minutes(
        (Step(Who.ON_CALL, 90), Step(Who.USER, 60, "U")), {"U": "Dr Kim"}, {"on_call": "Dr Patel"}
    )
    assert [(m.at, m.who) for m in found] == [
        ("0:00", "Who is on call (now Dr Patel)"), ("1:30", "Dr Kim"), ("2:30", "The last resort"),
    ]  # fmt: skip
    assert found[-1].repeats == "again every 5 minutes, until somebody takes it"


def test_the_ladder_shows_every_attempt_with_its_receipt(house: House, clinician: Https) -> None:
    message = spoken_message(house, urgent=True)
    now = utc_now()
    escalation.start_due(now)
    alert = Alert.objects.get()
    doctor = house.people[Role.CLINICIAN]
    fields = {
        "alert": alert,
        "user": doctor,
        "kind": "urgent",
        "recorded_at": now,
        "retry_at": now,
        "state": "sent",
    }
    Attempt.objects.create(
        step=7,
        channel="sms",
        address="+16175550100",
        answer="taken",
        receipt="delivered",
        sent_at=now,
        **fields,
    )
    page = body(clinician.get(f"/m/{message.id}/"))
    assert "text, taken, delivered" in page and "is told next" in page
    clinician.post(f"/m/{message.id}/take")
    page = body(clinician.get(f"/m/{message.id}/"))
    assert (
        "text, taken, delivered" in page
        and f"{doctor.name} since" in page
        and "Hand over to a colleague" in page
    )


def test_a_message_is_handed_over_on_the_page(house: House, clinician: Https, browser: Any) -> None:
    message = spoken_message(house)
    desk = house.people[Role.FRONT_DESK]
    assert clinician.post(f"/m/{message.id}/hand-over", {"to": desk.id}).status_code == 409, (
        "it is not theirs"
    )
    mailbox.acknowledge(house.actor(Role.CLINICIAN), message.id)
    assert clinician.post(f"/m/{message.id}/hand-over", {"to": desk.id}).status_code == 302
    message.refresh_from_db()
    assert message.owner == desk
    assert "Hand over to a colleague" not in body(clinician.get(f"/m/{message.id}/"))


def test_the_red_banner(house: House, clinician: Https) -> None:
    assert "nb-alert" not in body(clinician.get("/"))
    Shift.objects.all().delete()
    assert "Nobody is on call now" in body(clinician.get("/"))
    test = LineTest.objects.create(
        practice=house.practice, kind="evening", began_at=utc_now(), state="failed",
        checks={"answered": {"ok": False, "at": iso(utc_now()), "why": "nobody picked up"}},
    )  # fmt: skip
    page = body(clinician.get("/"))
    assert "The evening test of the line failed" in page and "nobody picked up" in page
    LineTest.objects.create(practice=house.practice, kind="evening", began_at=utc_now(), state="passed")
    assert "evening test" not in body(clinician.get("/")) and test.pk


def test_nights_and_who_was_woken(house: House) -> None:
    found = standing.nights(house.actor(Role.MANAGER), date(2026, 11, 20), Schedule.objects.get())
    assert [(one.person.name, one.nights, one.woken) for one in found] == [("Clinician Núñez", 30, 0)]
    other = standing.nights(house.actor(Role.FRONT_DESK), date(2026, 2, 3), Schedule.objects.get())
    assert [(one.nights, one.woken) for one in other] == [(28, None)], "how often is for managers"


def test_a_way_is_added_proved_tested_and_ordered(house: House, clinician: Https, monkeypatch: Any) -> None:
    doctor = house.people[Role.CLINICIAN]
    answer = clinician.post("/account/ways/add", {"kind": "sms", "address": "555 0100"})
    assert answer.status_code == 422 and "write it with its country" in body(answer).lower()
    monkeypatch.setattr("nightbell.people.contacts.secrets.randbelow", lambda _most: 123456)
    clinician.post("/account/ways/add", {"kind": "sms", "address": "+1 (617) 555-0100", "label": "Own phone"})
    made = Contact.objects.get(user=doctor, kind="sms")
    assert "not proved: not used" in body(clinician.get("/account/ways/"))
    assert clinician.post(f"/account/ways/{made.id}/test").status_code == 422
    assert clinician.post(f"/account/ways/{made.id}/prove", {"code": "000000"}).status_code == 422
    assert clinician.post(f"/account/ways/{made.id}/prove", {"code": "123 456"}).status_code == 302
    clinician.post(f"/account/ways/{made.id}/test")
    clinician.post(f"/account/ways/{made.id}/move", {"to": "up"})
    clinician.post(f"/account/ways/{made.id}/silent", {"from": "10 pm", "until": "07:00"})
    made.refresh_from_db()
    assert (
        (made.position, made.quiet_from, made.quiet_until) == (0, 1320, 420)
        and made.verified_at
        and made.send_at
    )
    assert (
        clinician.post(f"/account/ways/{made.id}/silent", {"from": "10 pm", "until": "later"}).status_code
        == 422
    )
    page = body(clinician.get("/account/ways/"))
    assert "silent 22:00 to 07:00" in page and "(617) 555-0100" in page
    clinician.post(f"/account/ways/{made.id}/remove")
    assert "555-0100" not in body(clinician.get("/account/ways/"))


def test_nobody_touches_the_ways_of_another(house: House, clinician: Https, browser: Any) -> None:
    mine = Contact.objects.get(user=house.people[Role.CLINICIAN])
    for act in ("code", "prove", "test", "silent", "remove"):
        assert browser(Role.MANAGER).post(f"/account/ways/{mine.id}/{act}").status_code == 404, act
    mine.refresh_from_db()
    assert mine.ended_at is None


AWAY = [
    json.dumps({"endpoint": one})
    for one in (
        "http://push.example/a",
        "https://10.0.0.5/",
        "https://[::1]:18943/x",
        "https://u:p@h.example/",
        "https://h.example/\0",
    )
]


def test_a_browser_is_added_by_its_subscription(house: House, clinician: Https, monkeypatch: Any) -> None:
    monkeypatch.setattr(contacts_page, "PUSH_KEY", lambda: "BPubKey")
    assert 'data-push="BPubKey"' in clinician.get("/account/ways/").content.decode()
    told = {"endpoint": "https://push.example/abc-secret", "keys": {"p256dh": "x", "auth": "y"}}
    answer = clinician.post("/account/ways/push", told, content_type="application/json")
    assert answer.status_code == 204
    made = Contact.objects.get(kind="push")
    assert made.verified_at is None and made.details == {"p256dh": "x", "auth": "y"}
    page = clinician.get("/account/ways/").content.decode()
    assert "push.example" in page and "abc-secret" not in page
    assert "Waiting for the first push" in page and "Only email reaches you" in page
    Contact.objects.filter(pk=made.pk).update(send_at=None)
    page = clinician.get("/account/ways/").content.decode()
    assert "The first push was not taken" in page and "Send it again" in page
    assert clinician.post(f"/account/ways/{made.id}/test").status_code == 302
    Contact.objects.filter(pk=made.pk).update(verified_at=utc_now(), send_at=None, tested_at=None)
    assert "Only email reaches you" in body(clinician.get("/account/ways/")), "its tests left in vain"
    Contact.objects.filter(pk=made.pk).update(tested_at=utc_now())
    assert "Only email reaches you" not in body(clinician.get("/account/ways/"))
    for wrong in ("[]", "{}", "x", '{"endpoint": 1}', *AWAY):
        assert clinician.post("/account/ways/push", wrong, content_type="application/json").status_code == 422


def test_the_service_worker_shows_constants(house: House) -> None:
    answer = Https().get("/sw.js")
    assert answer["Content-Type"].startswith("text/javascript")
    script = answer.content.decode()
    assert '"Something needs you. Open Nightbell to see it."' in script and "{{" not in script
    assert "event.data" not in script, "nothing that a push carries is ever shown"
    assert "fetch" not in script, "nothing is kept, no request is answered"


def test_the_pin_asks_who_you_are_again(house: House, clinician: Https) -> None:
    assert "/account/confirm" in clinician.get("/account/ways/pin")["Location"]
    session, doctor = clinician.session, house.people[Role.CLINICIAN]
    session["account_authentication_methods"] = [
        {"method": "password", "at": utc_now().timestamp(), "reauthenticated": True}
    ]
    session["account_authentication_methods_user"] = doctor.pk
    session.save()
    for pin, again in (("123456", "123456"), ("294817", "294818"), ("12", "12")):
        answer = clinician.post("/account/ways/pin", {"pin": pin, "again": again})
        assert answer.status_code == 422 and f'value="{pin}"' not in body(answer)
    assert clinician.post("/account/ways/pin", {"pin": "294817", "again": "294817"}).status_code == 302
    assert Pin.objects.get().user == doctor
    assert all(b"294817" not in bytes(leaf) for leaf in Event.objects.values_list("leaf", flat=True))


def test_evening_tests_and_drills(house: House, manager: Https, clinician: Https) -> None:
    assert manager.post("/oncall/tests/evening", {"at": "late"}).status_code == 422
    manager.post("/oncall/tests/evening", {"at": "6:15 pm"})
    house.practice.refresh_from_db()
    assert house.practice.line_test_at == 18 * 60 + 15
    checks = {
        "answered": {"ok": True, "at": iso(utc_now())},
        "greeting": {"ok": False, "why": "it was silent"},
    }
    LineTest.objects.create(
        practice=house.practice, kind="evening", began_at=utc_now(), state="failed", checks=checks
    )
    page = body(clinician.get("/oncall/tests"))
    assert "once a test that you begin here has come in" in page
    assert "at <b" in page and "18:15" in page and "The greeting is heard: no, it was silent" in page
    assert "A message is recorded and taken in: not checked" in page, "never green by default"
    assert "Begin a drill" not in page
    begun = manager.post("/oncall/tests/evening", {"now": "1"})
    assert (begun.status_code, LineTest.objects.filter(kind="evening", state="running").count()) == (302, 1)
    assert clinician.post("/oncall/tests/evening", {"now": "1"}).status_code == 403
    assert manager.post("/oncall/tests/drill").status_code == 302
    assert LineTest.objects.filter(kind="drill", state="running").count() == 1
    again = manager.post("/oncall/tests/drill")
    assert again.status_code == 422 and "one is under way" in body(again)
    manager.post("/oncall/tests/evening", {"at": ""})
    assert "The line is not tested." in body(clinician.get("/oncall/tests"))
