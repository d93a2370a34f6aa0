"""Whether the caller's number is the caller's: STIR (RFC 8224, RFC 8225, RFC 8226) with SHAKEN's attestation (RFC 8588).

Nothing is fetched. The certificate behind an Identity header's `info` must lie in a folder here, under the name that ends
that address; else the carrier's own word (`verstat`) counts, when the call came by a trunk. Pure: certificates and time are
arguments. Never raises: who calls with a broken token is a caller like any other, whose number is not verified.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from nightbell.sip.grammar import Address, parse_address, parse_params
from nightbell.sip.message import Request

FRESH = 60  # seconds that iat may differ from our clock (RFC 8224 §4.2, §12.1)
MAX_TOKEN = 8_192
MAX_TOKENS = 4
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\Z")
_VERSTAT = re.compile(r"(TN-Validation-Passed|TN-Validation-Failed)(?:-([ABC]))?\Z", re.IGNORECASE)
_LEVELS = ("A", "B", "C")


class Outcome(StrEnum):
    VERIFIED = "verified"
    FAILED = "failed"  # somebody vouched for another number, at another time, or with another key
    NONE = "none"  # nobody whom we can check vouched for it


@dataclass(frozen=True, slots=True)
class Verdict:
    """level: A (the number is the caller's), B (the caller is known, the number not), C (came from elsewhere), or ''."""

    outcome: Outcome = Outcome.NONE
    level: str = ""

    @property
    def mark(self) -> str:
        """As a capture's mark has it."""
        return f"attest:{self.outcome.value}:{self.level or '-'}"


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a PASSporT says, its signature not yet looked at. dest: who was called, plain digits; iat: Unix seconds."""

    signed: bytes
    signature: bytes
    address: str
    attest: str
    origin: str
    dest: frozenset[str]
    iat: int


def judge(
    request: Request,
    caller: str,
    called: Collection[str],
    certificates: Mapping[str, x509.Certificate],
    now: datetime,
    trusted: bool,
) -> Verdict:
    """What is known of the caller's number.

    called: numbers that may have been dialled; certificates: by file name; trusted: the call came by a trunk.
    """
    verdict = Verdict()
    for value in _identities(request):
        vouched = read(value)
        if vouched is None:
            continue
        certificate = certificates.get(vouched.address.rpartition("/")[2])
        if certificate is not None:
            verdict = verify(vouched, caller, called, certificate, now)
            if verdict.outcome is Outcome.VERIFIED:
                return verdict
    if verdict.outcome is Outcome.NONE and trusted:
        return carrier_word(request)
    return verdict


def verify(
    vouched: Vouched, caller: str, called: Collection[str], certificate: x509.Certificate, now: datetime
) -> Verdict:
    """Check one token by one certificate that somebody here trusts."""
    key = certificate.public_key()
    failed = Verdict(Outcome.FAILED)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return failed
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return failed
    half = len(vouched.signature) // 2
    r, s = (int.from_bytes(part, "big") for part in (vouched.signature[:half], vouched.signature[half:]))
    try:
        key.verify(encode_dss_signature(r, s), vouched.signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return failed
    if abs(now.timestamp() - vouched.iat) > FRESH:
        return failed
    if not number(caller) or vouched.origin != number(caller):
        return failed
    if not vouched.dest & {number(one) for one in called} - {""}:
        return failed
    return Verdict(Outcome.VERIFIED, vouched.attest)


def read(value: str) -> Vouched | None:
    """One Identity value with a whole SHAKEN token (RFC 8225 §7's short form tells no attestation: None)."""
    token, _, rest = value.partition(";")
    match = _TOKEN.match(token.strip())
    if match is None or len(value) > MAX_TOKEN:
        return None
    try:
        params = dict(parse_params(f";{rest}"))
        head, body = (_json(part) for part in match.groups()[:2])
        address = params["info"].strip("<>")
        if (head["alg"], head["ppt"], head["x5u"]) != ("ES256", "shaken", address):
            return None
        if params.get("alg", "ES256") != "ES256" or params.get("ppt", "shaken").strip('"') != "shaken":
            return None
        signature = _decode(match[3])
        tns = body["dest"].get("tn", [])
        iat, attest = body["iat"], body["attest"]
        if len(signature) != 64 or attest not in _LEVELS or not isinstance(tns, list):
            return None
        if type(iat) is not int or not 0 <= iat < 2**40:
            return None
        dest = frozenset(number(str(one)) for one in tns[:64])
        origin = number(str(body["orig"]["tn"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return Vouched(f"{match[1]}.{match[2]}".encode(), signature, address, attest, origin, dest, iat)


def carrier_word(request: Request) -> Verdict:
    """The carrier's `verstat`, in P-Asserted-Identity or else From, and the level where it names one."""
    for address in _who(request):
        found = _verstat(address)
        if found is None:
            continue
        if found[1].lower().endswith("failed"):
            return Verdict(Outcome.FAILED)
        told = request.get("p-attestation-indicator").rstrip("; ").upper()
        level = (found[2] or "").upper() or (told if told in _LEVELS else "")
        return Verdict(Outcome.VERIFIED, level)
    return Verdict()


def number(text: str) -> str:
    """A telephone number as PASSporTs have it (RFC 8224 §8.3): digits alone; a North American one with its 1."""
    digits = re.sub(r"[^0-9]", "", text.partition(";")[0]) if len(text) <= 64 else ""
    if len(digits) == 10 and not text.startswith("+"):
        return "1" + digits
    return digits


def _verstat(address: Address) -> re.Match[str] | None:
    user = address.uri.user.partition(";")[2]  # sip:+1555…;verstat=…@carrier has it in the user part
    values = [part.partition("=")[2] for part in user.split(";") if part.lower().startswith("verstat=")]
    values += [address.uri.param("verstat") or "", dict(address.params).get("verstat", "")]
    return next((match for value in values if (match := _VERSTAT.match(value.strip('"')))), None)


def _who(request: Request) -> list[Address]:
    found = []
    try:
        for value in request.listed("p-asserted-identity")[:MAX_TOKENS]:
            found.append(parse_address(value))
    except ValueError:
        found = []
    return [*found, request.sender]


def _identities(request: Request) -> list[str]:
    try:
        return request.listed("identity")[:MAX_TOKENS]
    except ValueError:
        return []


def _json(part: str) -> dict[str, Any]:
    found = json.loads(_decode(part))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _decode(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error


def load(files: Mapping[str, bytes]) -> dict[str, x509.Certificate]:
    """The first certificate of each PEM file, by the file's name; what is none is left out, and so is a CA's own."""
    found = {}
    for name, data in files.items():
        try:
            certificate = x509.load_pem_x509_certificate(data)
            usable = isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        except (ValueError, UnsupportedAlgorithm):
            continue
        if usable and not _is_ca(certificate):
            found[name] = certificate
    return found


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
