"""What may be known of a payload without decoding it: how long it lasts, and whether it holds a voice. Pure."""

from __future__ import annotations

from nightbell.core.capture import Codec
from nightbell.sip import g711

FRAMES_A_SECOND = 50
MOST_OPUS = 5760  # ticks: 120 ms, the longest packet (RFC 6716 §3.4, R5)
LONGEST_FRAME = 1275  # bytes of one Opus frame (RFC 6716 §3.2.1)

# Ticks of one frame for each of the 32 configurations of the TOC byte (RFC 6716 §3.1, table 2).
_SILK, _HYBRID, _CELT = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)
_OPUS_FRAME = _SILK * 3 + _HYBRID * 2 + _CELT * 4

# The smallest step in both bands: whatever a decoder holds, its step size shrinks and it falls silent.
_G722_SILENCE = 0xFF
# CELT alone, 20 ms, one channel: a frame whose first symbol is the flag of digital silence (RFC 6716 §4.3).
_OPUS_SILENCE = b"\xf8\xff\xfe"

_LOUD = 16 * 12  # |sample|, about -45 dBFS
_LOUD_SHARE = 8  # one sample in so many is enough: a plosive is short


def frame_ticks(codec: Codec) -> int:
    """Ticks of `Codec.clock` in 20 ms."""
    return codec.clock // FRAMES_A_SECOND


def silence(codec: Codec) -> bytes:
    """One payload of 20 ms in which nothing is heard."""
    if codec is Codec.OPUS:
        return _OPUS_SILENCE
    if codec is Codec.G722:
        return bytes([_G722_SILENCE]) * frame_ticks(codec)
    return g711.silence(frame_ticks(codec), codec)


def duration(codec: Codec, payload: bytes) -> int:
    """Ticks of `Codec.clock` that a payload lasts; 0 for an Opus packet that is malformed (RFC 6716 §3.4).

    G.711 and G.722 have one byte a tick (RFC 3551 §4.5.2, §4.5.14). What is not 0 here, every Opus decoder takes.
    """
    if codec is not Codec.OPUS:
        return len(payload)
    if not payload:
        return 0
    toc = payload[0]
    frame, code, size = _OPUS_FRAME[toc >> 3], toc & 3, len(payload) - 1
    if code == 0:
        return frame if size <= LONGEST_FRAME else 0
    if code == 1:
        return 2 * frame if size % 2 == 0 and size <= 2 * LONGEST_FRAME else 0
    if code == 2:
        return 2 * frame if _two_fit(payload) else 0
    return _many(payload, frame)


def _two_fit(payload: bytes) -> bool:
    """Code 2: two frames of different size, the first one's size in front (R4)."""
    first, at = _size(payload, 1)
    return first >= 0 and 0 <= len(payload) - at - first <= LONGEST_FRAME


def _size(payload: bytes, at: int) -> tuple[int, int]:
    """A frame's size and the place after it; (-1, …) when it is cut off (RFC 6716 §3.2.1)."""
    if at >= len(payload):
        return -1, at
    first = payload[at]
    if first < 252:
        return first, at + 1
    return (first + 4 * payload[at + 1], at + 2) if at + 1 < len(payload) else (-1, at)


def _many(payload: bytes, frame: int) -> int:
    """Code 3: a count, perhaps padding, and frames of one size or of many (R5 to R7)."""
    if len(payload) < 2:
        return 0
    flags, at = payload[1], 2
    count = flags & 0x3F
    ticks = count * frame
    if not 0 < ticks <= MOST_OPUS:
        return 0
    left = len(payload)
    if flags & 0x40:
        padding, at = _padding(payload)
        left -= padding
    if left < at:
        return 0
    if not flags & 0x80:
        return ticks if (left - at) % count == 0 and (left - at) // count <= LONGEST_FRAME else 0
    for _ in range(count - 1):
        size, at = _size(payload[:left], at)
        if size < 0:
            return 0
        left -= size
    return ticks if 0 <= left - at <= LONGEST_FRAME else 0


def _padding(payload: bytes) -> tuple[int, int]:
    """Bytes of padding at the end, and where the count of it ends; more than there are when it is cut off."""
    total, at = 0, 2
    for value in payload[2:]:
        at += 1
        total += 254 if value == 255 else value
        if value != 255:
            return total, at
    return len(payload) + 1, at


def loud(codec: Codec, payload: bytes) -> bool:
    """Whether somebody may be speaking in this payload: a hint, without a decoder and without a memory.

    G.711: the samples. G.722: how far the lower band's step size is driven up. Opus: the encoder's own voice flags in
    its SILK layer (RFC 6716 §4.2.3); a packet without that layer may always be a voice, unless it is hardly there.
    """
    if codec is Codec.OPUS:
        return _opus_voice(payload)
    if not payload:
        return False
    if codec is Codec.G722:
        return sum(payload.translate(_STEPS)) > _G722_LOUD * len(payload)
    return sum(payload.translate(_LOUDER[codec])) * _LOUD_SHARE > len(payload)


def _opus_voice(payload: bytes) -> bool:
    toc = payload[0] if payload else 0
    body = payload[2:] if toc & 3 == 3 else payload[1:]
    if len(body) < 2:
        return False  # a pause in the sending of silence (RFC 6716 §2.1.9)
    if toc >> 3 >= 16:
        return len(body) > 3  # CELT alone tells digital silence only
    if toc & 3 > 1:
        return True  # where its first frame begins is not worth a parser
    frames = max(1, _OPUS_FRAME[toc >> 3] // 960)
    flags = body[0] >> (8 - frames)
    if toc & 4:  # stereo: the side channel's flags follow the middle's, with a flag of redundancy between
        flags |= (body[0] << (frames + 1) & 0xFF) >> (8 - frames)
    return flags != 0


def _louder(codec: Codec) -> bytes:
    pcm = memoryview(g711.decode(bytes(range(256)), codec)).cast("h")
    return bytes(abs(sample) >= _LOUD for sample in pcm)


_LOUDER = {codec: _louder(codec) for codec in (Codec.PCMU, Codec.PCMA)}

# ITU-T G.722 §3.5: each code of the lower band moves the logarithm of the step size by W, which leaks away at 1/128.
# So the mean of W over a frame stands for the level: 16 are 6 dB. Four bits of the six count.
_W = (-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60)
_UNIT = 12.2  # so that 3042 + 60 fit a byte
_STEPS = bytes(round((_W[code >> 2 & 15] + 60) / _UNIT) for code in range(256))
_G722_LOUD = (60 + 30) / _UNIT  # about -55 dBFS


def joined(packets: list[bytes]) -> bytes:
    """Opus packets of one frame each and of one kind as one packet (RFC 6716 §3.2.5). Others: the last one alone."""
    if len(packets) == 1 or any(one[0] != packets[0][0] or one[0] & 3 for one in packets):
        return packets[-1]
    sizes = b"".join(_coded_size(len(one) - 1) for one in packets[:-1])
    return bytes([packets[0][0] | 3, 0x80 | len(packets)]) + sizes + b"".join(one[1:] for one in packets)


def _coded_size(size: int) -> bytes:
    if size < 252:
        return bytes([size])
    return bytes([252 + (size & 3), (size - 252 - (size & 3)) >> 2])
