"""The playback object: a message's sound under its own key, open to seeking (docs/formats/playback.md).

object     = "NBPLY", 0x01, commitment (32), stream
stream     = stream.py with 16 kB segments under HKDF(key, "nightbell audio v1"),
             associated data = the first 38 bytes, then the caller's
commitment = HKDF(key, "nightbell audio commitment v1"): AES-GCM alone does not commit to its key
"""

from __future__ import annotations

import hmac

from nightbell.sealing.errors import Truncated, UnknownFormat, WrongKey
from nightbell.sealing.stream import HEADER, PLAYBACK_SEGMENT, ReadRange, StreamReader, seal
from nightbell.sealing.subkeys import subkey

MAGIC = b"NBPLY\x01"
_COMMITMENT = 32
HEAD = len(MAGIC) + _COMMITMENT


def _head(key: bytes) -> bytes:
    return MAGIC + subkey(key, b"nightbell audio commitment v1")


def _stream_key(key: bytes) -> bytes:
    return subkey(key, b"nightbell audio v1")


def seal_playback(key: bytes, ad: bytes, wav: bytes) -> bytes:
    """The whole object. key: 32 bytes, used for no other message (a message may have several objects); ad: what it belongs to."""
    head = _head(key)
    return head + seal(_stream_key(key), head + ad, wav, PLAYBACK_SEGMENT)


class PlaybackReader(StreamReader):
    """Reads any range of the sound; fetches only the segments it needs. `size`: bytes of the object.

    Refused before the first byte: UnknownFormat, Truncated, WrongKey (another message's key),
    Tampered (cut, extended, moved to another message). Later: Tampered for an altered segment.
    """

    def __init__(self, key: bytes, ad: bytes, read_range: ReadRange, size: int) -> None:
        first = read_range(0, HEAD + HEADER)
        if len(first) < HEAD + HEADER:
            raise Truncated("a playback object", f"it has only {len(first)} bytes")
        head = first[:HEAD]
        if not head.startswith(MAGIC):
            raise UnknownFormat("a playback object", "it does not begin with NBPLY and version 1")
        if not hmac.compare_digest(head, _head(key)):
            raise WrongKey("a playback object", "it was sealed under another message's key")

        def within(offset: int, length: int) -> bytes:
            if offset + length <= HEADER:
                return first[HEAD + offset : HEAD + offset + length]
            return read_range(HEAD + offset, length)

        super().__init__(_stream_key(key), head + ad, within, size - HEAD, PLAYBACK_SEGMENT)
