"""Telnyx: webhook signatures, TeXML, and recordings by its REST API.

Signature: Ed25519 over "timestamp|body", told in the headers telnyx-signature-ed25519 and telnyx-timestamp
(developers.telnyx.com, Webhooks). Recordings: GET and DELETE /v2/recordings/{id}; the links that it gives are valid
for ten minutes, so a fresh one is asked for each time and none is kept.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nightbell.adapters.carriers import documents
from nightbell.adapters.carriers.wire import Wire, text
from nightbell.adapters.messaging import telnyx as texts
from nightbell.core.carriers import Abilities, BadRecording, CallFacts, Held, NotThere, Ring, Verb
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import Delivery

API = "https://api.telnyx.com"
# Their links lead to S3: to its own hosts alone, for anybody can have another host below amazonaws.com.
S3 = re.compile(r"([a-z0-9][a-z0-9.-]{1,62}\.)?s3([.-][a-z]{2}(-[a-z]+){1,2}-[0-9])?\.amazonaws\.com")
MEDIA = (".telnyx.com", S3)
MOST_PAGES = 20
TOLERANCE = 300  # seconds between its clock and ours
_ID = re.compile(r"[0-9a-fA-F-]{8,64}\Z")
_CALL = re.compile(r"[A-Za-z0-9:_-]{8,200}\Z")
# `timeout` stays 0: to hear silence Telnyx lets a speech service listen in.
_RECORD = {"channels": "single", "format": "wav"}


class TelnyxHook:
    """public_key: base 64, from the portal."""

    name = "telnyx"
    abilities = Abilities(silence_ends=False)

    def __init__(self, public_key: str) -> None:
        try:
            self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        except ValueError as error:
            raise RefusedStart(
                "NIGHTBELL_TELNYX_PUBLIC_KEY",
                "it is not an Ed25519 key in base 64",
                "copy it from the portal",
            ) from error

    def genuine(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        params: Mapping[str, list[str]],
        now: datetime,
    ) -> bool:
        """Signed by Telnyx within the last five minutes."""
        stamp = headers.get("telnyx-timestamp", "")
        if not (stamp.isascii() and stamp.isdigit()) or abs(now.timestamp() - int(stamp[:15])) > TOLERANCE:
            return False
        try:
            signature = base64.b64decode(headers.get("telnyx-signature-ed25519", ""), validate=True)
            self._key.verify(signature, stamp.encode() + b"|" + body)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def document(self, verbs: tuple[Verb, ...]) -> str:
        return documents.document(verbs, _RECORD)

    def told(self, body: bytes, params: Mapping[str, list[str]]) -> Delivery | None:
        return texts.told(body)


class TelnyxCarrier:
    """api_key: a bearer token."""

    name = "telnyx"

    def __init__(self, api_key: str, wire: Wire) -> None:
        self._wire = wire
        self._headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}

    def fetch(self, recording: str) -> bytes:
        found = self._wire.json(f"/v2/recordings/{_id(recording)}", self._headers).get("data")
        links = found.get("download_urls") if isinstance(found, dict) else None
        link = (text(links, "wav") or text(links, "mp3")) if isinstance(links, dict) else ""
        if not link.startswith("https://"):
            raise BadRecording("A recording", "the carrier gives no link to it")
        return self._wire.sound(link, self._headers)

    def delete(self, recording: str) -> bool:
        return self._wire.delete(f"/v2/recordings/{_id(recording)}", self._headers)

    def recordings(self, call: str) -> list[Held]:
        held = [
            Held(text(one, "id"), text(one, "status") or "completed", _began(one)) for one in self._of(call)
        ]
        return sorted((one for one in held if _ID.match(one.id)), key=lambda one: (one.began, one.id))

    def since(self, moment: datetime) -> list[tuple[str, Held]]:
        began = quote(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), safe="")
        listed: list[tuple[str, Held]] = []
        for page in range(1, MOST_PAGES + 1):
            where = f"/v2/recordings?page[size]=200&page[number]={page}&filter[created_at][gte]={began}"
            rows = self._rows(where)
            listed += [
                (text(one, "call_control_id"), Held(text(one, "id"), text(one, "status"), _began(one)))
                for one in rows
                if text(one, "initiated_by") == "RecordVerb"
            ]
            if len(rows) < 200:
                break
        return listed

    def facts(self, call: str) -> CallFacts:
        rows = self._of(call)
        alive = self._alive(call)
        if alive is None and not rows:
            raise NotThere("A call", "Telnyx knows neither it nor a recording of it")
        first = rows[0] if rows else {}
        ring = Ring(call, text(first, "from"), text(first, "to"))
        return CallFacts(not alive, ring, _moment(text(first, "recording_started_at")))

    def _alive(self, call: str) -> bool | None:
        """None: it is not known. Telnyx forgets a call ten minutes after its end; its recordings still name the numbers."""
        where = f"/v2/calls/{quote(_call(call), safe=':')}"
        try:
            found = self._wire.json(where, self._headers, unknown=(404, 422)).get("data")
        except NotThere:
            return None
        return isinstance(found, dict) and found.get("is_alive") is True

    def _of(self, call: str) -> list[dict[str, Any]]:
        return self._rows(
            f"/v2/recordings?page[size]=100&filter[call_control_id]={quote(_call(call), safe='')}"
        )

    def _rows(self, where: str) -> list[dict[str, Any]]:
        found = self._wire.json(where, self._headers).get("data")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _id(value: str) -> str:
    if not _ID.match(value):
        raise NotThere("A recording", "its name is none of Telnyx's")
    return value


def _call(value: str) -> str:
    if not _CALL.match(value):
        raise NotThere("A call", "its name is none of Telnyx's")
    return value


def _began(found: Mapping[str, Any]) -> str:
    return text(found, "recording_started_at") or text(found, "created_at")


def _moment(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
