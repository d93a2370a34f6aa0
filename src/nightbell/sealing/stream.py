"""Sealed streams: Tink's AES-GCM-HKDF streaming format with AES-256 and SHA-256.

Source: developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming.

    stream  = header segment*
    header  = 0x28, salt (32), nonce prefix (7)
    segment = AES-256-GCM(key, nonce = prefix | index u32 | last u8, no associated data)
    key     = HKDF-SHA256(ikm, salt, info = associated data)

Every segment has the fixed size of its use (ciphertext with its 16-byte tag; the first one
includes the header), only the last may be shorter. The index and the mark of the last one sit
in the nonce: order, cutting and extending are authenticated.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nightbell.sealing.errors import Tampered, Truncated, UnknownFormat

KEY = 32
TAG = 16
_PREFIX = 7
HEADER = 1 + KEY + _PREFIX
CAPTURE_SEGMENT = 4096
PLAYBACK_SEGMENT = 16384
_READ_AHEAD = 262144
_NONCE = struct.Struct(">IB").pack

ReadRange = Callable[[int, int], bytes]
"""(offset, length) -> exactly those bytes, or fewer at the end."""


def _cipher(ikm: bytes, salt: bytes, ad: bytes) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), KEY, salt, ad).derive(ikm))


class StreamSealer:
    """Seals a stream as it comes. Output is the concatenation of `header`, every `write` and `finish`."""

    def __init__(self, ikm: bytes, ad: bytes, segment: int) -> None:
        salt, self._prefix = os.urandom(KEY), os.urandom(_PREFIX)
        self.header = bytes([HEADER]) + salt + self._prefix
        self._cipher = _cipher(ikm, salt, ad)
        self._full = segment - TAG
        self._room = self._full - HEADER
        self._index = 0
        self.pending = bytearray()

    @property
    def room(self) -> int:
        """Plaintext bytes that still fit the open segment."""
        return self._room - len(self.pending)

    def write(self, data: bytes, more: bool = False) -> bytes:
        """Take plaintext, give the segments that it closed (often none).

        A segment that is exactly full waits, since it may be the last; `more` promises that it is not.
        """
        self.pending += data
        if len(self.pending) < self._room:
            return b""
        out = []
        while len(self.pending) > self._room or (more and len(self.pending) == self._room):
            out.append(self._seal(bytes(self.pending[: self._room]), False))
        return b"".join(out)

    def finish(self, data: bytes = b"") -> bytes:
        """Take the last plaintext, give the last segments. Nothing may be written after it."""
        return self.write(data) + self._seal(bytes(self.pending), True)

    def _seal(self, plain: bytes, last: bool) -> bytes:
        sealed = self._cipher.encrypt(self._prefix + _NONCE(self._index, last), plain, None)
        del self.pending[: len(plain)]
        self._index += 1
        self._room = self._full
        return sealed


def seal(ikm: bytes, ad: bytes, plain: bytes, segment: int) -> bytes:
    """A whole stream at once."""
    sealer = StreamSealer(ikm, ad, segment)
    return sealer.header + sealer.finish(plain)


def _open_header(head: bytes) -> tuple[bytes, bytes]:
    """Salt and nonce prefix. Raises Truncated, UnknownFormat."""
    if len(head) < HEADER:
        raise Truncated("a sealed stream", f"it has {len(head)} bytes, its header alone has {HEADER}")
    if head[0] != HEADER:
        raise UnknownFormat("a sealed stream", f"its first byte is {head[0]}, not {HEADER}")
    return head[1 : 1 + KEY], head[1 + KEY : HEADER]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What could be opened. whole: up to a genuine last segment, so that nothing is missing."""

    plain: bytes
    whole: bool


def recover(ikm: bytes, ad: bytes, data: bytes, segment: int = CAPTURE_SEGMENT) -> Recovered:
    """All whole segments of a stream that may have been cut anywhere, in order, up to the first bad one.

    Raises Truncated or UnknownFormat for a bad header; a wrong key or damage merely shortens.
    """
    salt, prefix = _open_header(data[:HEADER])
    cipher = _cipher(ikm, salt, ad)
    out: list[bytes] = []
    start, end = HEADER, segment
    for index in range(2**32):
        piece = data[start:end]
        if len(piece) < TAG:
            break
        ends_here = end >= len(data)
        plain, last = _try(cipher, prefix, index, piece, end <= len(data), ends_here)
        if plain is None:
            break
        out.append(plain)
        if last:
            return Recovered(b"".join(out), True)
        start, end = end, end + segment
    return Recovered(b"".join(out), False)


def _try(
    cipher: AESGCM, prefix: bytes, index: int, piece: bytes, full: bool, ends_here: bool
) -> tuple[bytes | None, bool]:
    for last in ([False] if full else []) + ([True] if ends_here else []):
        try:
            return cipher.decrypt(prefix + _NONCE(index, last), piece, None), last
        except InvalidTag:
            continue
    return None, False


class StreamReader(io.RawIOBase):
    """Random access to a sealed stream of which only the needed segments are fetched and opened.

    The end is authenticated at opening: a stream that was cut or extended is refused before its
    first byte is given. Raises Truncated, UnknownFormat, Tampered. Not for use by two threads.
    """

    def __init__(self, ikm: bytes, ad: bytes, read_range: ReadRange, size: int, segment: int) -> None:
        super().__init__()
        self._read, self._size, self._segment = read_range, size, segment
        salt, self._prefix = _open_header(read_range(0, HEADER))
        self._cipher = _cipher(ikm, salt, ad)
        self._count = max(1, -(-size // segment))
        tail = size - (self._count - 1) * segment - (HEADER if self._count == 1 else 0)
        if tail < TAG:
            raise Truncated("a sealed stream", "its last segment is shorter than a tag")
        self.length = size - HEADER - self._count * TAG
        self._at = 0
        self._open(self._count - 1, self._count)

    def _open(self, first: int, stop: int) -> bytes:
        start = HEADER if first == 0 else first * self._segment
        end = min(stop * self._segment, self._size)
        raw = self._read(start, end - start)
        if len(raw) != end - start:
            raise Truncated("a sealed stream", "the store gave fewer bytes than it has")
        out, at = [], 0
        for index in range(first, stop):
            long = self._segment - (HEADER if index == 0 else 0)
            nonce = self._prefix + _NONCE(index, index == self._count - 1)
            try:
                out.append(self._cipher.decrypt(nonce, raw[at : at + long], None))
            except InvalidTag:
                raise Tampered(
                    "a sealed stream", f"segment {index} does not authenticate", "restore it from a backup"
                ) from None
            at += long
        return b"".join(out)

    def _segment_of(self, position: int) -> int:
        return (position + HEADER) // (self._segment - TAG)

    def _start_of(self, index: int) -> int:
        return 0 if index == 0 else index * (self._segment - TAG) - HEADER

    def read_at(self, offset: int, length: int) -> bytes:
        """Plaintext from `offset`, at most `length` bytes, fewer at the end."""
        length = min(length, self.length - offset)
        if offset < 0 or length <= 0:
            return b""
        first, last = self._segment_of(offset), self._segment_of(offset + length - 1)
        start = offset - self._start_of(first)
        return self._open(first, last + 1)[start : start + length]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.length}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError("seek before the start of the stream")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read_at(self._at, min(len(buffer), _READ_AHEAD))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        out = []
        while piece := self.read_at(self._at, _READ_AHEAD):
            out.append(piece)
            self._at += len(piece)
        return b"".join(out)
