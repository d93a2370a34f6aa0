"""A FHIR R4 server as record system: conditional create over verified HTTPS (hl7.org/fhir/R4/http.html#ccreate)."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from nightbell.adapters.outward import Outward
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import ChannelError
from nightbell.core.records import Kept, RecordsAway, RecordsRefused

SETTING = "NIGHTBELL_FHIR_URL"
JSON = "application/fhir+json"
SECONDS = 20.0  # for one resource
_KIND = re.compile(r"[A-Z][A-Za-z]{2,40}\Z")
_PLACE = re.compile(r"[\x21-\x7e]{1,200}\Z")
_AGAIN = (408, 409, 425, 429)


class FhirRecords:
    """Implements `core.records.Records`.

    url: https://host[:port][/path], the server's base; token: read anew for each request, so that a renewed one counts
    ('' for none); ca_file: PEM with authorities to trust instead of the system's; seconds: for one resource. It may
    stand in the practice's own network, and is never sent on: the token is for this host alone. Raises RefusedStart.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        ca_file: str = "",
        clock: Clock = SYSTEM,
        seconds: float = SECONDS,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise RefusedStart(SETTING, "it is not a plain https address", "write https://host/path")
        self._base, self._token = url.rstrip("/"), token
        try:
            self._outward = Outward(
                "the record system", private=True, ca_file=ca_file, clock=clock, seconds=seconds
            )
        except (OSError, ssl.SSLError):
            why = "it holds no certificates that can be read"
            raise RefusedStart("NIGHTBELL_FHIR_CA", why, "name a PEM file, or leave it empty") from None

    def create(self, resource: Mapping[str, Any], search: str) -> Kept:
        """See `core.records.Records`. 201: made; 200: it was there already."""
        kind = str(resource["resourceType"])
        if not _KIND.match(kind):
            raise RecordsRefused("this is no resource")
        headers = {
            "Content-Type": f"{JSON}; charset=utf-8", "Accept": JSON, "Prefer": "return=minimal",
            "If-None-Exist": quote(search, safe="=&:/|._-~"),
        }  # fmt: skip
        token = self._token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body = json.dumps(resource, ensure_ascii=False).encode()
        try:
            reply = self._outward.post(f"{self._base}/{kind}", headers, body)
        except ChannelError as error:
            # `from None`: the request holds a patient's data. Unsure or not, the same again is harmless.
            raise RecordsAway(error.answer) from None
        return _kept(reply.status, reply.headers.get("location", ""))


def _kept(status: int, place: str) -> Kept:
    if status in (200, 201):
        return Kept(status == 201, place if _PLACE.match(place) else "")
    if status in (401, 403):
        raise RecordsAway(f"it answered {status}", "look at NIGHTBELL_FHIR_TOKEN_FILE", refused=True)
    if status in _AGAIN or status >= 500:
        raise RecordsAway(f"it answered {status}")
    raise RecordsRefused(f"it answered {status}")  # 412: it has two of them already
