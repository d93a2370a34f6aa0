"""A seeded mutator: what an attacker's tool does to a good message, the same each time for the same seed."""

from __future__ import annotations

import random

# What parsers have fallen over: overlong, nulls, format strings, broken UTF-8, huge and negative numbers, odd ends of lines.
ANOMALIES = (
    b"\x00", b"\x00" * 64, b"%n%s%x%d" * 8, b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "٣".encode(),
    "²".encode(), b"-1", b"0", b"99999999999999999999", b"2147483648", b"4294967296", b"1e9", b"0x41", b"\r", b"\n", b"\r\n",
    b"\r\n\r\n", b"\r\n ", b"\t", b"<", b">", b'"', b"\\", b'\\"', b";", b",", b"=", b"@", b"[", b"]", b"[::", b"::1", b"(", b"*",
    b"A" * 300, b"A" * 5000, b";" * 200, b"," * 200, b"<" * 200, b'"' * 201, b"[" * 3000, b"\\" * 500, b"%00", b"%", b"%zz",
    b"sip:", b"sips:", b"tel:", b"SIP/2.0", b"SIP/2.0 200 OK\r\n", b";tag=", b";rport", b";received=", b";branch=z9hG4bK",
    b"Content-Length: 0\r\n", b"l: 5\r\n", b"Via: x\r\n", b"a=crypto:1 AEAD_AES_256_GCM inline:", b"m=audio 0 RTP/AVP 0\r\n",
)  # fmt: skip
MOST = 8_192  # bytes of what is made


class Mutator:
    """seeds: good and bad messages to begin with; not empty."""

    def __init__(self, seeds: list[bytes], seed: int) -> None:
        self._seeds = seeds
        self._random = random.Random(seed)
        self._ways = (
            self._flip, self._flip, self._cut, self._insert, self._insert, self._double, self._move, self._splice,
            self._number, self._line, self._line,
        )  # fmt: skip

    def one(self) -> bytes:
        """The next message."""
        data = self._random.choice(self._seeds)
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 5, 9))):
            data = self._random.choice(self._ways)(data)
        return data[:MOST]

    def _span(self, data: bytes, most: int = 40) -> tuple[int, int]:
        begin = self._random.randrange(len(data) + 1)
        return begin, min(len(data), begin + self._random.randrange(1, most))

    def _flip(self, data: bytes) -> bytes:
        begin, end = self._span(data, 5)
        return data[:begin] + self._random.randbytes(end - begin) + data[end:]

    def _cut(self, data: bytes) -> bytes:
        begin, end = self._span(data, 200)
        return data[:begin] if self._random.random() < 0.2 else data[:begin] + data[end:]

    def _insert(self, data: bytes) -> bytes:
        begin, end = self._span(data, 12)
        return data[:begin] + self._random.choice(ANOMALIES) + data[self._random.choice((begin, end)) :]

    def _double(self, data: bytes) -> bytes:
        begin, end = self._span(data, 120)
        return data[:begin] + data[begin:end] * self._random.choice((2, 2, 3, 60)) + data[end:]

    def _move(self, data: bytes) -> bytes:
        begin, end = self._span(data, 60)
        at = self._random.randrange(len(data) + 1)
        return data[:at] + data[begin:end] + data[at:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self._seeds)
        return data[: self._span(data)[0]] + other[self._span(other)[0] :]

    def _number(self, data: bytes) -> bytes:
        places = [at for at, value in enumerate(data) if 48 <= value < 58]
        if not places:
            return self._flip(data)
        at = self._random.choice(places)
        number = self._random.choice(
            (b"0", b"-1", b"255", b"256", b"65536", b"2147483647", b"9" * 30, b"9" * 5000, b"007")
        )
        return data[:at] + number + data[at + 1 :]

    def _line(self, data: bytes) -> bytes:
        """A whole line twice, elsewhere, or gone."""
        lines = data.split(b"\r\n")
        at = self._random.randrange(len(lines))
        line = lines.pop(at) if self._random.random() < 0.5 else lines[at]
        for _ in range(self._random.choice((0, 1, 1, 2, 300))):
            lines.insert(self._random.randrange(len(lines) + 1), line)
        return b"\r\n".join(lines)
