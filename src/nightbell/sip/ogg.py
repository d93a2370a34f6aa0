"""Opus packets in an Ogg file and out of it (RFC 3533, RFC 7845): one channel, no pre-skip. Pure."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from nightbell.core.capture import Codec
from nightbell.sip.codecs import MOST_OPUS, duration

MOST_PACKET = 254 * 255  # bytes, so that a packet always ends in the page in which it begins
_HEAD = struct.Struct(
    "<4sBBqIIIB"
)  # magic, version, flags, granule position, serial, number, checksum, segments
_FIRST, _LAST = 2, 4
_MOST_SEGMENTS = 255
_SERIAL = 1
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class BadOgg(ValueError):
    """This is no Ogg file with Opus in it."""


def wrap(packets: Iterable[bytes], rate: int) -> bytes:
    """An Ogg Opus file. rate: what a decoder shall give, samples a second (8000, 12000, 16000, 24000 or 48000).

    Every packet is one that `codecs.duration` gives a length for, or ValueError is raised: one bad packet would
    end the reading of all that follow.
    """
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 0, rate, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    pages = list(_pages(packets))
    out = [_page([head], 0, 0, _FIRST), _page([tags], 0, 1, 0)]
    for number, (held, granule) in enumerate(pages):
        out.append(_page(held, granule, number + 2, _LAST if number + 1 == len(pages) else 0))
    return b"".join(out)


def _pages(packets: Iterable[bytes]) -> Iterator[tuple[list[bytes], int]]:
    """Packets by page, each with the ticks at its end."""
    held: list[bytes] = []
    segments = at = 0
    for packet in packets:
        ticks = duration(Codec.OPUS, packet)
        if not 0 < ticks <= MOST_OPUS or len(packet) > MOST_PACKET:
            raise ValueError("an Opus packet is malformed")
        needed = len(packet) // 255 + 1
        if segments + needed > _MOST_SEGMENTS:
            yield held, at
            held, segments = [], 0
        held.append(packet)
        segments += needed
        at += ticks
    if held:
        yield held, at


def _page(packets: list[bytes], granule: int, number: int, flags: int) -> bytes:
    lacing = b"".join(b"\xff" * (len(one) // 255) + bytes([len(one) % 255]) for one in packets)
    body = lacing + b"".join(packets)
    head = _HEAD.pack(b"OggS", 0, flags, granule, _SERIAL, number, 0, len(lacing))
    return head[:22] + struct.pack("<I", _checksum(head + body)) + head[26:] + body


def _checksum(page: bytes) -> int:
    """CRC-32 of RFC 3533 §6: unlike zlib's it takes the highest bit first, starts at 0, and is not inverted."""
    crc = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def packets(data: bytes) -> list[bytes]:
    """The Opus packets of a file of our own encoder, without the two headers. Raises BadOgg."""
    found: list[bytes] = []
    begun = b""
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size or data[at : at + 4] != b"OggS":
            raise BadOgg("no page begins here")
        lacing = data[at + _HEAD.size : at + _HEAD.size + data[at + 26]]
        at += _HEAD.size + len(lacing)
        for size in lacing:
            begun += data[at : at + size]
            at += size
            if size < 255:
                found.append(begun)
                begun = b""
    if at > len(data) or begun or len(found) < 2 or not found[0].startswith(b"OpusHead"):
        raise BadOgg("it is cut off, or not Opus")
    return found[2:]
