"""Keys of a call's encrypted sound, as values: SRTP profiles (RFC 3711, RFC 7714), SDES lines (RFC 4568), fingerprints of
DTLS certificates (RFC 8122), and what the two sides agreed on."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from enum import StrEnum

from nightbell.core.errors import NightbellError

# Bytes of master key and of salt, by the name in SDP (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2); best first.
PROFILES: dict[str, tuple[int, int]] = {
    "AEAD_AES_256_GCM": (32, 12),
    "AEAD_AES_128_GCM": (16, 12),
    "AES_256_CM_HMAC_SHA1_80": (32, 14),
    "AES_CM_128_HMAC_SHA1_80": (16, 14),
    "AES_CM_128_HMAC_SHA1_32": (16, 14),
}
# Those that we propose: a tag of 32 bits is for who has no better.
PROPOSED = ("AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_256_CM_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_80")
_HASHES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_TAG = re.compile(r"[0-9]{1,9}\Z")
_LIFETIME = re.compile(r"(2\^([0-9]{1,2})|[0-9]{1,15})\Z")
_LONGEST_LINE = 512


class BadKeys(NightbellError, ValueError):
    """These cannot be the keys of this profile."""


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """What both directions are encrypted with. ours, theirs: master key and salt of the sender, in one piece."""

    profile: str
    ours: bytes
    theirs: bytes

    def __post_init__(self) -> None:
        lengths = PROFILES.get(self.profile)
        if lengths is None:
            raise BadKeys("SRTP keys", "the profile is not known")
        if not len(self.ours) == len(self.theirs) == sum(lengths):
            raise BadKeys("SRTP keys", "their length is not that of the profile")

    def __repr__(self) -> str:
        return f"SrtpKeys({self.profile})"  # keys are never shown


@dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line (RFC 4568 §9.1). key: master key and salt of whoever sends the line."""

    tag: int
    suite: str
    key: bytes

    def __repr__(self) -> str:
        return f"Crypto({self.tag}, {self.suite})"

    def line(self) -> str:
        """The value after `a=crypto:`."""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


def parse_crypto(value: str) -> Crypto | None:
    """The value after `a=crypto:`, None for a line that we must not take: malformed, of a suite that we do not speak, with
    more than one key or an MKI (we would have to cut it from each packet), or with a session parameter that changes what is
    protected. Parameters with a minus sign may be ignored (§6.3.7)."""
    parts = value.split()
    if len(value) > _LONGEST_LINE or len(parts) < 3 or not _TAG.match(parts[0]) or parts[1] not in PROFILES:
        return None
    method, _, info = parts[2].partition(":")
    text, *rest = info.split("|")
    if method.lower() != "inline" or ";" in info or len(rest) > 1 or not all(map(_lifetime, rest)):
        return None
    if not all(one.startswith("-") or re.match(r"WSH=[0-9]{2,5}\Z", one) for one in parts[3:]):
        return None
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Crypto(int(parts[0]), parts[1], key) if len(key) == sum(PROFILES[parts[1]]) else None


def _lifetime(text: str) -> bool:
    """Packets that a key may encrypt, at most 2^48 (RFC 3711 §9.2). Who set the limit has to come with a new key."""
    found = _LIFETIME.match(text)
    if found is None:
        return False
    packets = 2 ** int(found[2]) if found[2] else int(text)
    return 0 < packets <= 2**48


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A hash of a DTLS certificate (RFC 8122 §5). algorithm: as in SDP, 'sha-256'."""

    algorithm: str
    value: bytes

    def line(self) -> str:
        """The value after `a=fingerprint:`."""
        return f"{self.algorithm} {self.value.hex(':').upper()}"


def parse_fingerprint(value: str) -> Fingerprint | None:
    """The value after `a=fingerprint:`, None for a malformed one or a hash that is too weak."""
    algorithm, _, text = value[:_LONGEST_LINE].strip().partition(" ")
    algorithm = algorithm.lower()
    if not re.match(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})*\Z", text.strip()):
        return None
    digest = bytes.fromhex(text.strip().replace(":", ""))
    return Fingerprint(algorithm, digest) if _HASHES.get(algorithm) == len(digest) else None


class Keying(StrEnum):
    """Where the keys of the sound come from."""

    NONE = "none"
    SDES = "sdes"
    DTLS = "dtls"


@dataclass(frozen=True, slots=True)
class Security:
    """How a call's sound is protected, as our own description says it.

    crypto: our line, in an offer one for each suite. fingerprint, setup: of our certificate, and our part in the handshake
    ('active' begins it; an offer leaves it open with 'actpass'). keys: as soon as both are known. theirs: the fingerprints
    that the other side's certificate is held against. required: our offer takes no plain sound for an answer.
    """

    keying: Keying = Keying.NONE
    crypto: tuple[Crypto, ...] = ()
    fingerprint: Fingerprint | None = None
    setup: str = ""
    keys: SrtpKeys | None = None
    theirs: tuple[Fingerprint, ...] = ()
    required: bool = False

    @property
    def secured(self) -> bool:
        return self.keying is not Keying.NONE

    def lines(self) -> list[str]:
        """Our attributes of the medium."""
        lines = [f"a=crypto:{one.line()}" for one in self.crypto]
        if self.fingerprint is not None:
            lines += [f"a=fingerprint:{self.fingerprint.line()}", f"a=setup:{self.setup}"]
        return lines


PLAIN = Security()
