"""Whether the house stands: for people with the right to see it, and for machines without any log-in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_safe

from nightbell.people.roles import Act
from nightbell.web import context
from nightbell.web.doors import Door, allows

NAMES = {
    "worker": "Worker: takes messages in, tells people",
    "keys": "Keys",
    "audit": "Audit log",
    "speech": "Speech to text",
    "alerts": "Alerts move on",
    "last_resort": "Last resort",
    "spool": "Recordings waiting",
    "phone": "Phone line",
    "carrier": "Carriers",
    "records": "Record system",
}


def _health() -> Mapping[str, Any]:
    return context.HEALTH() if context.HEALTH is not None else {"ok": True, "checks": {}}


@require_safe
@allows(Door.OPEN)
def healthz(request: HttpRequest) -> HttpResponse:
    """`/healthz`: 200 when all is well, 503 when something needs a person. No PHI, no names."""
    health = _health()
    checks = {name: bool(check.get("ok")) for name, check in health.get("checks", {}).items()}
    body = {
        "status": "ok" if health.get("ok") else "needs attention",
        "ok": bool(health.get("ok")),
        "checks": checks,
    }
    return HttpResponse(json.dumps(body), status=200 if body["ok"] else 503, content_type="application/json")


@require_GET
@allows(Act.STATUS)
def status(request: HttpRequest) -> HttpResponse:
    """`/status/`: the same in words, with what each check says."""
    health = _health()
    checks = [{"name": NAMES.get(name, name), **check} for name, check in health.get("checks", {}).items()]
    return render(
        request, "pages/status.html", {"here": "status", "ok": bool(health.get("ok")), "checks": checks}
    )
