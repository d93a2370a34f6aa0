"""A record system as strict as FHIR R4 allows (hl7.org/fhir/R4/http.html): conditional create, and nothing that is not valid."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fhir.resources.R4B.communication import Communication
from fhir.resources.R4B.documentreference import DocumentReference
from pydantic import ValidationError
from tests.fakes.https_server import Quiet, serving

MODELS = {"Communication": Communication, "DocumentReference": DocumentReference}
HANG = 0  # in place of a status: no answer at all


@dataclass
class FakeFhir:
    """What it holds. answers: in place of its own, each used once, after the resource was kept where `keeps` says so."""

    token: str = "right"
    url: str = ""
    ca: str = ""
    kept: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    keeps: bool = False
    asked: list[str] = field(default_factory=list)
    going: threading.Event = field(default_factory=threading.Event)


def _judge(fake: FakeFhir, handler: Quiet, body: bytes) -> tuple[int, str]:
    kind = handler.path.rpartition("/")[2]
    fake.asked.append(kind)
    if handler.headers.get("Authorization") != f"Bearer {fake.token}":
        return 401, ""
    if handler.headers.get("Content-Type", "").partition(";")[0] != "application/fhir+json":
        return 415, ""
    if fake.answers and not fake.keeps:
        return fake.answers.pop(0), ""
    try:
        found = json.loads(body)
        _codes(MODELS[kind].model_validate_json(body))
    except (ValueError, KeyError, ValidationError):
        return 422, ""
    name, _, criteria = unquote(handler.headers.get("If-None-Exist", "")).partition("=")
    if name != "identifier":
        return 400, ""
    same = [one for one in fake.kept if one["resourceType"] == kind and criteria in _identifiers(one)]
    if not same:
        if criteria not in _identifiers(found):
            return 422, ""
        fake.kept.append(found)
    if fake.answers:
        return fake.answers.pop(0), ""
    return (200 if same else 201), f"{fake.url}/{kind}/{fake.kept.index((same or [found])[0])}"


def _codes(resource: Communication | DocumentReference) -> None:
    """The library knows which codes a field may have, and lets others through. Raises ValueError."""
    for name, field_ in type(resource).model_fields.items():
        extra = field_.json_schema_extra
        allowed = extra.get("enum_values") if isinstance(extra, dict) else None
        if allowed and getattr(resource, name) not in (None, *allowed):
            raise ValueError(name)


def _identifiers(resource: dict[str, Any]) -> list[str]:
    return [f"{one['system']}|{one['value']}" for one in resource["identifier"]]


@contextmanager
def running(folder: Path, fake: FakeFhir) -> Iterator[FakeFhir]:
    class Server(Quiet):
        def do_POST(self) -> None:
            status, place = _judge(fake, self, self.body())
            if status == HANG:
                fake.going.wait(30)
                return
            self.answer(status, b"{}", **({"Location": place} if place else {}))

    with serving(folder, Server) as (fake.url, fake.ca):
        yield fake
        fake.going.set()
