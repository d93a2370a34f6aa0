"""A group goes while somebody puts it into a step: two transactions that really run beside each other, in both orders.

They are committed: on SQLite into a file that is a copy of the tests' own, on PostgreSQL beside it, and taken away again. So
nothing is written into the log here, which keeps what it has.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from nightbell.core.clock import utc_now
from nightbell.oncall import policy_admin
from nightbell.oncall.models import EscalationPolicy, Group
from nightbell.oncall.policies import Step, Who
from nightbell.oncall.policy_admin import BadPolicy
from nightbell.people.access import Actor
from nightbell.people.models import Practice, User
from nightbell.people.roles import Role

MOMENT = 0.3  # seconds for the other to come in between, if it can


def beside(work: Callable[[], object]) -> Callable[[], object]:
    """Begin a thread with a connection of its own. Returns what waits for its end: its result, or the error that it raised."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> object:
        thread.join(30)
        return found[0]

    return end


@pytest.fixture
def db(django_db_setup: None) -> None:
    """The tests' database, without a transaction around each test."""


@pytest.fixture
def group(
    db: None, django_db_blocker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Group]:
    with django_db_blocker.unblock():
        connection.ensure_connection()
        if connection.vendor == "sqlite":
            with sqlite3.connect(tmp_path / "copy.sqlite3") as copy:
                connection.connection.backup(copy)
            copy.close()
            monkeypatch.setitem(connections.settings["default"], "NAME", str(tmp_path / "copy.sqlite3"))
        made = beside(_make)()
        try:
            assert isinstance(made, Group), made
            yield made
        finally:
            left = beside(_unmake)()
            monkeypatch.undo()
            assert left is None, left


def _make() -> Group:
    now = utc_now()
    practice = Practice.objects.create(
        code="ZZ98", name="Race", zone="America/New_York", number="5035550198", created_at=now
    )
    for role in (Role.MANAGER, Role.CLINICIAN):
        User.objects.create(login=f"{role.value}-zz98", name=role.value, role=role, practice=practice)
    return Group.objects.create(practice=practice, name="Nurses")


def _unmake() -> None:
    for model in (EscalationPolicy, Group, User):
        model._default_manager.filter(practice__code="ZZ98").delete()
    Practice.objects.filter(code="ZZ98").delete()


def manager() -> Actor:
    user = User.objects.select_related("practice").get(login="manager-zz98")
    return Actor(user, "192.0.2.7", "session", utc_now())


def at_once(first: Callable[[], object], second: Callable[[], object], at: threading.Event) -> list[object]:
    """The second begins when the first has come as far as `at`."""
    one = beside(first)
    assert at.wait(30)
    two = beside(second)
    return [one(), two()]


def test_a_group_goes_while_a_policy_takes_it_up(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, over, reasons = threading.Event(), threading.Event(), policy_admin.reasons

    def slow(*given: Any) -> list[str]:
        found = reasons(*given)
        looked.set()
        over.wait(MOMENT)
        return found

    def remove() -> None:
        try:
            policy_admin.remove_group(manager(), group.id)
        finally:
            over.set()

    monkeypatch.setattr(policy_admin, "reasons", slow)
    monkeypatch.setattr(policy_admin, "write", lambda *_, **__: None)
    kept, refused = at_once(
        lambda: policy_admin.save_policy(manager(), "", "Nights", [Step(Who.GROUP, 60, group.id)]),
        remove,
        looked,
    )
    assert isinstance(kept, str), kept
    assert isinstance(refused, BadPolicy) and "a policy tells it" in str(refused)
    assert beside(Group.objects.filter(pk=group.id).exists)() is True


@pytest.mark.parametrize("what", ["policy", "group"])
def test_what_takes_up_a_group_that_is_going(
    group: Group, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    gone, over = threading.Event(), threading.Event()

    def slow(_actor: Actor, action: str, **_: Any) -> None:
        if action == "group:remove":
            gone.set()
            over.wait(MOMENT)

    def save() -> object:
        try:
            if what == "policy":
                return policy_admin.save_policy(manager(), "", "Nights", [Step(Who.GROUP, 60, group.id)])
            nurse = User.objects.get(login="clinician-zz98")
            return policy_admin.save_group(manager(), group.id, "Nurses", [nurse.id])
        finally:
            over.set()

    monkeypatch.setattr(policy_admin, "write", slow)
    removed, refused = at_once(lambda: policy_admin.remove_group(manager(), group.id), save, gone)
    assert removed is None
    words = "a group that your practice does not have" if what == "policy" else "There is no such group"
    assert words in str(refused) and not isinstance(refused, str)
    assert beside(EscalationPolicy.objects.exists)() is False
