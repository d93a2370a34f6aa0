"""SRTP of one call, both ways (RFC 3711, RFC 7714): packets are opened where they lie, without a copy.

The library's own session class copies each packet three times; its binding works in our memory. At 50,000 packets a
second that is a twentieth of a core, and it is all that is used of the binding.
"""

from __future__ import annotations

import struct
from typing import Any

from pylibsrtp import Error, Policy
from pylibsrtp import _binding as binding

from nightbell.core.errors import NightbellError
from nightbell.sip.srtp import SrtpKeys

WINDOW = 512  # packets: what comes later than ten seconds, or twice, is a replay (RFC 3711 §3.3.2)
MOST_SOURCES = 32  # SSRCs of one caller; each costs memory for as long as the call lasts
REPLAYED = frozenset({9, 10})  # srtp_err_status_replay_fail, srtp_err_status_replay_old
REFUSED = 1  # srtp_err_status_fail
_MOST = 65_536  # bytes of a packet; the longest that an Opus frame can make is a little shorter
_LONGEST_TRAILER = 16 + 128

_ffi: Any = binding.ffi
_lib: Any = binding.lib
unprotect = _lib.srtp_unprotect
_protect = _lib.srtp_protect

_BASE = {
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AES_256_CM_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
# srtp_crypto_policy_t begins with the cipher and the length of its key with salt: SRTP_AES_ICM_256 (RFC 6188).
_ICM_256 = struct.pack("=Ii", 5, 46)


class NoProtection(NightbellError):
    """The library cannot work with these keys."""


def _context(keys: SrtpKeys, key: bytes, direction: int) -> Any:
    try:
        policy = Policy(key, direction, 0, _BASE[keys.profile])
        policy.window_size = WINDOW
        if keys.profile == "AES_256_CM_HMAC_SHA1_80":
            for part in (policy._policy.rtp, policy._policy.rtcp):  # the class has no name for it
                _ffi.buffer(_ffi.addressof(part))[: len(_ICM_256)] = _ICM_256
        made = _ffi.new("srtp_t *")
        if _lib.srtp_create(made, policy._policy):
            raise NoProtection("a call's encryption", f"{keys.profile} cannot be set up")
    except (Error, ValueError) as error:
        raise NoProtection("a call's encryption", f"{keys.profile} cannot be set up") from error
    return _ffi.gc(made, lambda handle: _lib.srtp_dealloc(handle[0]))


class Pen:
    """Memory in which packets are made and encrypted, one after the other. For one thread."""

    __slots__ = ("length", "pointer", "view")

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_MOST + _LONGEST_TRAILER))
        self.pointer = _ffi.from_buffer(self.view)
        self.length = _ffi.new("int *")


class Protection:
    """One call's SRTP contexts. For one thread. Raises NoProtection."""

    __slots__ = ("_inbound", "_outbound", "_sources", "inbound", "keys", "outbound")

    def __init__(self, keys: SrtpKeys) -> None:
        self.keys = keys
        self._inbound = _context(keys, keys.theirs, Policy.SSRC_ANY_INBOUND)
        self._outbound = _context(keys, keys.ours, Policy.SSRC_ANY_OUTBOUND)
        self.inbound, self.outbound = self._inbound[0], self._outbound[0]
        """For `unprotect(inbound, pointer, pointer to the length)`: 0, or why the packet is not to be believed."""
        self._sources: set[int] = set()

    def knows(self, ssrc: int) -> bool:
        """Whether an authenticated packet's source may go on; one too many is forgotten at once."""
        if ssrc in self._sources:
            return True
        if len(self._sources) >= MOST_SOURCES:
            _lib.srtp_remove_stream(self.inbound, int.from_bytes(ssrc.to_bytes(4, "big"), "little"))
            return False
        self._sources.add(ssrc)
        return True

    def open(self, data: bytes) -> bytes | int:
        """The plain packet, or the library's word for why it is not to be believed."""
        memory = _ffi.new("unsigned char[]", data)
        length = _ffi.new("int *", len(data))
        code: int = unprotect(self.inbound, memory, length)
        return code or bytes(_ffi.buffer(memory, length[0]))

    def seal(self, packet: bytes) -> bytes:
        """The packet to send. Raises NoProtection: the keys are used up."""
        pen, size = Pen(), len(packet)
        pen.view[:size] = packet
        return bytes(pen.view[: self.seal_in(pen, size)])

    def seal_in(self, pen: Pen, size: int) -> int:
        """Encrypt the packet that fills so much of the pen; how much of it is to be sent. Raises NoProtection."""
        length = pen.length
        length[0] = size
        if _protect(self.outbound, pen.pointer, length):
            raise NoProtection("a call's encryption", "a packet cannot be encrypted")
        return int(length[0])
