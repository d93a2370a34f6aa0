"""Twilio: webhook signatures, TwiML, and recordings by its REST API.

Signature: base64(HMAC-SHA1(auth token, address + each sorted parameter name and value)); a JSON body is bound by
`bodySHA256` in the address (www.twilio.com/docs/usage/webhooks/webhooks-security). Recordings:
www.twilio.com/docs/voice/api/recording; encrypted ones: docs/voice/tutorials/voice-recording-encryption.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from nightbell.adapters.carriers import documents
from nightbell.adapters.carriers.wire import Wire, text
from nightbell.adapters.messaging import twilio as texts
from nightbell.core.carriers import (
    Abilities,
    BadRecording,
    CallFacts,
    CarrierAway,
    Held,
    KeyDoesNotFit,
    NotThere,
    Ring,
    Verb,
)
from nightbell.core.notice import Delivery

API = "https://api.twilio.com"
MEDIA = (".twilio.com", "media.twiliocdn.com")
MOST_PAGES = 20
_SID = re.compile(r"[A-Z]{2}[0-9a-f]{32}\Z")
_KEY = re.compile(r"CR[0-9a-f]{32}\Z")
_OVER = frozenset(["completed", "busy", "failed", "no-answer", "canceled"])
_RECORD = {"trim": "do-not-trim", "recordingStatusCallbackEvent": "in-progress completed absent"}


def sign(token: str, url: str, params: Mapping[str, list[str]]) -> str:
    """The signature over an address and its POST parameters."""
    pairs = [name + value for name in sorted(params) for value in sorted(set(params[name]))]
    mac = hmac.new(token.encode(), (url + "".join(pairs)).encode(), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


def addresses(url: str) -> tuple[str, str]:
    """The same address without and with its port: Twilio signs the one or the other."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = parts.port or 443
    return parts._replace(netloc=host).geturl(), parts._replace(netloc=f"{host}:{port}").geturl()


class TwilioHook:
    """token: the account's auth token, with which it signs."""

    name = "twilio"
    abilities = Abilities(silence_ends=True)

    def __init__(self, account: str, token: str) -> None:
        self._account, self._token = account, token

    def genuine(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        params: Mapping[str, list[str]],
        now: datetime,
    ) -> bool:
        """Signed with our token, and of our account."""
        given = headers.get("x-twilio-signature", "")
        bound = parse_qs(urlsplit(url).query).get("bodySHA256")
        if bound:
            told = (
                bound[0].lower()[:64].encode("utf-8", "replace")
            )  # as text it may hold what cannot be compared
            if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), told):
                return False
            params = {}
        elif params.get("AccountSid") != [self._account]:
            return False
        # Both are computed, so that the time tells nothing.
        fits = [
            hmac.compare_digest(sign(self._token, one, params).encode(), given.encode("utf-8", "replace"))
            for one in addresses(url)
        ]
        return any(fits)

    def document(self, verbs: tuple[Verb, ...]) -> str:
        return documents.document(verbs, _RECORD)

    def told(self, body: bytes, params: Mapping[str, list[str]]) -> Delivery | None:
        return texts.told(params)


class TwilioCarrier:
    """keys: folder of RSA private keys, '<public key sid>.pem', for accounts that encrypt their recordings."""

    name = "twilio"

    def __init__(self, account: str, token: str, wire: Wire, keys: Path | None = None) -> None:
        self._wire, self._keys = wire, keys
        self._home = f"/2010-04-01/Accounts/{account}"
        self._headers = {
            "Authorization": "Basic " + base64.b64encode(f"{account}:{token}".encode()).decode(),
            "Accept": "*/*",
        }

    def fetch(self, recording: str) -> bytes:
        where = f"{self._home}/Recordings/{_sid(recording)}"
        found = self._wire.json(f"{where}.json", self._headers)
        status = text(found, "status")
        if status in ("absent", "failed", "deleted"):
            raise NotThere("A recording", f"the carrier says that it is {status}")
        if status != "completed":
            raise CarrierAway("A recording", "the carrier is not ready with it", "wait")
        details = found.get("encryption_details")
        # An encrypted file cannot be mixed down by Twilio: what channels it has is found when it is read.
        sound = self._wire.sound(f"{where}.wav" + ("" if details else "?RequestedChannels=1"), self._headers)
        return decrypt(sound, details, self._private) if details else sound

    def delete(self, recording: str) -> bool:
        return self._wire.delete(f"{self._home}/Recordings/{_sid(recording)}.json", self._headers)

    def recordings(self, call: str) -> list[Held]:
        found = self._wire.json(
            f"{self._home}/Calls/{_sid(call)}/Recordings.json?PageSize=100", self._headers
        )
        rows = [one for one in found.get("recordings") or () if isinstance(one, dict)]
        held = [Held(text(one, "sid"), text(one, "status"), _began(one)) for one in rows]
        return sorted((one for one in held if _SID.match(one.id)), key=lambda one: (one.began, one.id))

    def since(self, moment: datetime) -> list[tuple[str, Held]]:
        where = f"{self._home}/Recordings.json?PageSize=200&DateCreated%3E={moment.astimezone(UTC):%Y-%m-%d}"
        listed: list[tuple[str, Held]] = []
        for _ in range(MOST_PAGES):
            found = self._wire.json(where, self._headers)
            rows = [one for one in found.get("recordings") or () if isinstance(one, dict)]
            listed += [
                (text(one, "call_sid"), Held(text(one, "sid"), text(one, "status"), _began(one)))
                for one in rows
                if text(one, "source") == "RecordVerb"
            ]
            where = text(found, "next_page_uri")
            if not where.startswith("/"):
                break
        return listed

    def facts(self, call: str) -> CallFacts:
        found = self._wire.json(f"{self._home}/Calls/{_sid(call)}.json", self._headers)
        ring = Ring(call, text(found, "from"), text(found, "to"), text(found, "forwarded_from"))
        return CallFacts(text(found, "status") in _OVER, ring, _moment(text(found, "start_time")))

    def _private(self, sid: str) -> bytes:
        """The PEM of one key. A key that is missing today may be put there tomorrow."""
        path = self._keys / f"{sid}.pem" if self._keys is not None and _KEY.match(sid) else None
        try:
            if path is not None:
                return path.read_bytes()
        except OSError:
            pass
        raise KeyDoesNotFit(
            "An encrypted recording",
            "its private key is not in NIGHTBELL_TWILIO_RECORDING_KEYS",
            "put it there",
        )


def _sid(value: str) -> str:
    if not _SID.match(value):
        raise NotThere("A call or recording", "its name is none of Twilio's")
    return value


def _began(found: Mapping[str, Any]) -> str:
    moment = _moment(text(found, "start_time") or text(found, "date_created"))
    return moment.isoformat() if moment else ""


def _moment(value: str) -> datetime | None:
    """RFC 2822, as Twilio writes times."""
    try:
        return parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None


def decrypt(sound: bytes, details: object, private: Callable[[str], bytes]) -> bytes:
    """AES-256-GCM under a key that is sealed with RSAES-OAEP (SHA-256). The tag is the last 16 bytes of the file.

    details: {"public_key_sid", "encrypted_cek", "iv"}, the last two in base 64, as an object or as its JSON.
    """
    try:
        given: Any = json.loads(details) if isinstance(details, str) else details
        sid, sealed, iv = (str(given[name]) for name in ("public_key_sid", "encrypted_cek", "iv"))
        wrapped, nonce = base64.b64decode(sealed, validate=True), base64.b64decode(iv, validate=True)
    except (ValueError, TypeError, KeyError, binascii.Error) as error:
        raise BadRecording(
            "An encrypted recording", "what is told of its encryption cannot be read"
        ) from error
    secret = _opened(private(sid), wrapped)
    try:
        return AESGCM(secret).decrypt(nonce, sound, None)
    except (ValueError, InvalidTag) as error:
        raise BadRecording("An encrypted recording", "it was altered or cut") from error


def _opened(pem: bytes, wrapped: bytes) -> bytes:
    """The recording's own key. That ours does not open it says nothing of the recording: somebody put a wrong one."""
    try:
        key = load_pem_private_key(pem, None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("not an RSA key")
        return key.decrypt(wrapped, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyDoesNotFit(
            "An encrypted recording",
            "the private key of this name does not open it",
            "put the right one into NIGHTBELL_TWILIO_RECORDING_KEYS",
        ) from error
