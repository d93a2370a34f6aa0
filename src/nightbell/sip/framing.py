"""Messages out of a TCP stream (RFC 3261 §18.3, keep-alives RFC 5626 §3.5.1)."""

from __future__ import annotations

import re

from nightbell.core.errors import NightbellError
from nightbell.sip.message import MAX_BYTES

MAX_HEAD = 32_768
_LENGTH = re.compile(
    rb"(?:\A|\r\n)(?:content-length|l)[ \t]*:(?:\r\n)?[ \t]*([0-9]{1,10})[ \t]*(?=\r\n|\Z)", re.IGNORECASE
)
# Blanks too many are the parser's to refuse, with 400: the answer must not depend on how the network cut the stream.
_FIRST_LINE = re.compile(
    rb"[\x21-\x7e]+ (?:[\x21-\x7e\x80-\xff]+ [\x20-\x7e\x80-\xff]*| *[\x21-\x7e\x80-\xff]+ +SIP/[0-9.]+ *)\Z"
)


class BrokenStream(NightbellError, ValueError):
    """The stream cannot be followed any further: treat `before`, the messages that were whole until then, answer `head` with
    400 if it is a request, then close."""

    def __init__(self, why: str, head: bytes = b"") -> None:
        self.head, self.before = head, list[bytes]()
        super().__init__("SIP stream", why, "close the connection")


class Framer:
    """Collects bytes and gives whole messages. Holds at most 64 kB and the last read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._wanted = 0
        self.pings = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Add what arrived; returns the messages that are now complete. Raises BrokenStream.

        Double CRLFs between messages are keep-alives, counted in `pings`, to be answered by one CRLF each.
        """
        self._buffer += data
        messages: list[bytes] = []
        while True:
            try:
                if not self._wanted and not self._find_head():
                    return messages
            except BrokenStream as broken:
                broken.before = messages
                raise
            if len(self._buffer) < self._wanted:
                return messages
            messages.append(bytes(self._buffer[: self._wanted]))
            del self._buffer[: self._wanted]
            self._wanted = self._searched = 0

    @property
    def waiting(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer)

    def _find_head(self) -> bool:
        self._skip_pings()
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        self._check_begin()
        if end < 0:
            self._searched = len(self._buffer)
            if len(self._buffer) > MAX_HEAD:
                raise BrokenStream("a message's headers are too large")
            return False
        head = bytes(self._buffer[:end])
        lengths = _LENGTH.findall(head)
        if len(lengths) != 1:
            raise BrokenStream("a message does not have one Content-Length", head + b"\r\n\r\n")
        self._wanted = end + 4 + int(lengths[0])
        if self._wanted > MAX_BYTES:
            raise BrokenStream("a message is too large", head + b"\r\n\r\n")
        return True

    def _skip_pings(self) -> None:
        crlfs = 0
        while self._buffer.startswith(b"\r\n", crlfs * 2):
            crlfs += 1
        if crlfs:
            self.pings += crlfs // 2
            # An odd CRLF stays: its other half may come.
            keep = 2 if crlfs % 2 and len(self._buffer) == crlfs * 2 else 0
            del self._buffer[: crlfs * 2 - keep]
            self._searched = 0

    def _check_begin(self) -> None:
        """Give up early on what is not SIP at all, such as TLS or HTTP without end."""
        line, found, _ = bytes(self._buffer[:MAX_HEAD]).lstrip(b"\r\n").partition(b"\r\n")
        if found and not _FIRST_LINE.match(line):
            raise BrokenStream("a message does not begin with a SIP line")
        if not found and (len(line) > 8_192 or b"\x00" in line):
            raise BrokenStream("this is not SIP")
