"""Keys of a call's encrypted sound, as values: SRTP profiles (RFC 3711, RFC 7714) and what the two sides agreed on."""

from __future__ import annotations

from dataclasses import dataclass

from nightbell.core.errors import NightbellError

# Bytes of master key and of salt, by the name in SDP (RFC 4568 §6.2, RFC 6188 §4, RFC 7714 §14.2); best first.
PROFILES: dict[str, tuple[int, int]] = {
    "AEAD_AES_256_GCM": (32, 12),
    "AEAD_AES_128_GCM": (16, 12),
    "AES_256_CM_HMAC_SHA1_80": (32, 14),
    "AES_CM_128_HMAC_SHA1_80": (16, 14),
    "AES_CM_128_HMAC_SHA1_32": (16, 14),
}


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
