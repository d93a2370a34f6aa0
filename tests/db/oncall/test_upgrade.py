"""A home of before this release: what waits there is still sent, and older changes keep their order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, models
from django.db.migrations.executor import MigrationExecutor
from django.db.models import NOT_PROVIDED

NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)
BEFORE = [("oncall", "0001_initial"), ("people", "0001_initial")]
AFTER = [("oncall", "0002_rotations_policies_calls"), ("people", "0006_emails_in_use")]
ALIAS = "of_before"


@pytest.fixture
def executor(django_db_setup: None, django_db_blocker: Any) -> Iterator[MigrationExecutor]:
    """Another database on the engine under test: the one of the other tests stays as it is."""
    with django_db_blocker.unblock():
        yield from _empty()


def _empty() -> Iterator[MigrationExecutor]:
    connections.databases[ALIAS] = connections["default"].settings_dict | {"NAME": "before"}
    connections.databases[ALIAS]["TEST"] = connections["default"].settings_dict["TEST"] | {"NAME": None}
    there = connections[ALIAS]
    name = there.creation._create_test_db(verbosity=0, autoclobber=True, keepdb=False)
    there.close()
    there.settings_dict["NAME"] = name
    yield MigrationExecutor(there)
    there.close()
    there.creation._destroy_test_db(name, verbosity=0)
    there.close()
    del connections[ALIAS], connections.databases[ALIAS]


def _row(model: Any, **given: Any) -> Any:
    """A row with something in every column that must have it."""
    blank: dict[type[models.Field[Any, Any]], Any] = {
        models.DateTimeField: NOW, models.CharField: "", models.TextField: "", models.BinaryField: b"",
    }  # fmt: skip
    for field in model._meta.concrete_fields:
        bare = field.default is NOT_PROVIDED and not field.null and not field.primary_key
        if bare and field.name not in given and field.attname not in given:
            given[field.name] = next((v for kind, v in blank.items() if isinstance(field, kind)), 0)
    return model.objects.using(ALIAS).create(**given)


def test_what_waits_is_sent_and_changes_keep_their_order(executor: MigrationExecutor) -> None:
    old = executor.migrate(BEFORE).apps
    practice = _row(old.get_model("people", "Practice"), code="AB12", name="Before", number="5035550100")
    user = _row(old.get_model("people", "User"), login="ann", practice=practice, email="ann@ab12.example")
    message = _row(old.get_model("mailbox", "Message"), practice=practice)
    alert = _row(old.get_model("oncall", "Alert"), practice=practice, message=message, token="t", step=3)
    _row(old.get_model("oncall", "Attempt"), alert=alert, user=user, step=2, address="ann@ab12.example")
    schedule = _row(old.get_model("oncall", "Schedule"), practice=practice, fallback=user)
    for day in (2, 1):
        start = NOW + timedelta(days=day)
        _row(
            old.get_model("oncall", "Override"), schedule=schedule, user=user, starts_at=start, ends_at=start
        )

    executor.loader.build_graph()
    new = executor.migrate(AFTER).apps
    attempt = new.get_model("oncall", "Attempt").objects.using(ALIAS).get()
    assert (attempt.state, attempt.channel) == ("pending", "email")
    assert new.get_model("oncall", "Alert").objects.using(ALIAS).get().step == 3
    overrides = new.get_model("oncall", "Override").objects.using(ALIAS).order_by("id")
    assert [one.number for one in overrides] == [1, 2]
    assert new.get_model("people", "Practice").objects.using(ALIAS).get().line_test_at is None
    contact = new.get_model("people", "Contact").objects.using(ALIAS).get()
    assert (contact.address, contact.code_times) == ("ann@ab12.example", [])
