"""docs/access.md is what the code says, and what the code says is what happens: each role, each endpoint, both practices."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.db.talks import tape
from tests.db.web.conftest import Https, signed_in, spoken_message
from tests.factories import House, make_message

from nightbell.core.clock import iso, utc_now
from nightbell.line import trunks
from nightbell.line.models import Closure
from nightbell.line.trunk_rules import Given
from nightbell.mailbox import intake, talks
from nightbell.oncall import escalation
from nightbell.oncall.models import (
    Alert,
    CallBack,
    Change,
    EscalationPolicy,
    Group,
    Override,
    Rotation,
    Route,
    Schedule,
    Shift,
    Swap,
)
from nightbell.people import tokens
from nightbell.people.installation import By
from nightbell.people.models import Cover, Practice, User
from nightbell.people.roles import Role
from nightbell.web import access_table
from nightbell.web.api import api as ninja
from nightbell.web.doors import Door

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "access.md"
BODIES: dict[str, dict[str, str]] = {
    "note": {"text": "x"},
    "notes": {"text": "x"},
    "close": {"outcome": "reached"},
}
POSTED = (
    "heard", "take", "note", "close", "reopen", "override", "shift", "remove", "acknowledge", "notes", "real", "edit",
    "publish", "discard", "number", "open", "closure", "recording", "use", "step", "back",
    "ask", "realm", "withdraw", "call", "phone-note", "allow", "hand-over", "answer", "holiday",
    "last-resort", "add", "rename", "feed", "group", "move", "evening", "drill", "end", "undo",
)  # fmt: skip
READ = ("/line/heard",)  # by its last word it would be posted


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text("utf-8") == access_table.as_markdown(), "run: script/docs"


def test_no_operation_of_the_api_is_missing() -> None:
    found = set()
    for path, item in ninja.get_openapi_schema(path_prefix="/api/v1")["paths"].items():
        for method in item:
            found.add(f"{method.upper()} {path.replace('{message_id}', '{id}')}")
    assert found == set(access_table.API)


class Things:
    """One of each thing that a path can name, in one practice."""

    def __init__(self, house: House) -> None:
        now = utc_now()
        self.house = house
        self.message = spoken_message(house).id
        escalation.start_due(now)
        self.token = Alert.objects.get(message_id=self.message).token
        self.schedule = Schedule.objects.get(practice=house.practice)
        self.now = now
        self.trunks = 0

    @property
    def trunk(self) -> str:
        """A new one each time: some paths remove it."""
        self.trunks += 1
        name = f"{self.house.practice.code} {self.trunks}"
        return trunks.add(By("os:test", self.now), Given(name, "address", sources="203.0.113.7"))

    def path(self, template: str) -> str:
        if "override" in template:
            row = Override.objects.create(
                schedule=self.schedule, user=self.house.people[Role.CLINICIAN], starts_at=self.now,
                ends_at=self.now + timedelta(hours=1),
            ).id  # fmt: skip
        elif "closure" in template:
            row = Closure.objects.create(
                practice=self.house.practice, starts_at=self.now, made_at=self.now, at_once=True
            ).id
        else:
            row = self._on_call(template)
        template = template.replace("[language]", "en").replace("[name]", "goodbye").replace("[number]", "1")
        template = template.replace("[trunk_id]", self.trunk if "[trunk_id]" in template else "")
        return template.replace("{id}", self.message).replace("{token}", self.token).replace("{row}", row)

    def _on_call(self, template: str) -> str:
        """A row of the kind that a path of the schedule's pages names, made anew: some paths remove it."""
        practice, doctor = self.house.practice, self.house.people[Role.CLINICIAN]
        if "/swap/" in template:
            span = {"starts_at": self.now, "ends_at": self.now + timedelta(hours=1)}
            asked = [
                {"user": user.id, "at": iso(self.now), "answer": ""} for user in self.house.people.values()
            ]
            made = Swap.objects.create(
                schedule=self.schedule, user=doctor, asked=asked, made_at=self.now, next_at=self.now, **span
            )
            Swap.objects.exclude(pk=made.pk).update(state="withdrawn")
            return str(made.id)
        if "/rotation/" in template:
            turns = {"starts_on": self.now.date(), "members": [doctor.id]}
            return str(Rotation.objects.create(schedule=self.schedule, rank=2, **turns).id)
        if "/schedules/" in template:
            return str(Schedule.objects.create(practice=practice, name="Nights", main=False).id)
        if "/cover/" in template:
            Cover.objects.filter(ended_at=None).update(ended_at=self.now)
            # Nobody who asks in these tests: whoever covers may end it too.
            there = Practice.objects.exclude(pk=practice.pk).get()
            number = Cover.objects.count()
            elsewhere = User.objects.create(
                login=f"cover-{number}", name="Someone Else", role=Role.CLINICIAN, practice=there
            )
            asked = {"asked_by": self.house.people[Role.MANAGER], "asked_at": self.now}
            return str(Cover.objects.create(practice=practice, user=elsewhere, **asked).id)
        if "/call/" in template:
            called = CallBack.objects.create(message_id=self.message, user=doctor, asked_at=self.now)
            talks.note(self.message, called.id, True, self.now)
            intake.take_in(tape(called.id), self.now)
            return str(called.id)
        if "/undo/" in template:
            boss = self.house.people[Role.MANAGER]
            return str(
                Change.objects.create(
                    schedule=self.schedule, by=boss, at=self.now, number=1, kind="shift", row=doctor.id
                ).id
            )
        kinds = {"/policy/": EscalationPolicy, "/route/": Route, "/group/": Group}
        for part, model in kinds.items():
            if part in template:
                named = {} if model is Route else {"name": "Nights"}
                return str(model.objects.create(practice=practice, **named).id)
        return str(Shift.objects.filter(schedule=self.schedule).first().id)  # type: ignore[union-attr]


def _ask(client: Https, method: str, path: str, **headers: Any) -> int:
    last = path.rstrip("/").rsplit("/", 1)[-1]
    if method == "POST" and path.startswith("/api/"):
        return client.post(path, BODIES.get(last, {}), content_type="application/json", **headers).status_code
    if method == "POST":
        return client.post(path, BODIES.get(last, {})).status_code
    return client.get(path, **headers).status_code


def _verdict(status: int) -> str:
    """What happened, as the table says it. 4xx about the form or the state means that one was let in."""
    return {403: "–", 404: "not found"}.get(status, "yes" if status < 500 else f"broken: {status}")


@pytest.mark.parametrize("whose", ["own", "other"])
@pytest.mark.parametrize("role", list(Role))
def test_every_endpoint_does_what_the_table_says(house: House, other: House, role: Role, whose: str) -> None:
    things = Things(house if whose == "own" else other)
    make_message(house.mailbox)
    browser, program = signed_in(house.people[role]), Https(raise_request_exception=False)
    bearer = {"HTTP_AUTHORIZATION": "Bearer " + tokens.issue(house.people[role], "test", utc_now())}
    wrong = []
    for endpoint in access_table.pages() + access_table.api():
        if endpoint.need is Door.OPEN:
            continue
        method, _, template = endpoint.path.rpartition(" ")
        path = things.path(template)
        if method:
            status = _ask(program, method, path, **bearer)
        else:
            last = [part for part in template.split("/") if part and "{" not in part][-1:]
            posted = last and last[0] in POSTED and template not in READ
            status = _ask(browser, "POST" if posted else "GET", path)
        expected = "–"
        if endpoint.may(role):
            expected = "not found" if endpoint.of_one and whose == "other" else "yes"
        if _verdict(status) != expected:
            wrong.append((endpoint.path, status, expected))
    assert wrong == []
