"""A fake of the way out: it keeps what would have gone, byte by byte, and answers what it was given."""

from __future__ import annotations

from nightbell.adapters.outward import Outward, Reply


class Taken(Outward):
    """Everything that would have gone out, byte by byte."""

    def __init__(self, answer: bytes = b"") -> None:
        super().__init__("it")
        self.url, self.headers, self.body = "", {}, b""
        self._answer = answer

    def post(self, url: str, headers: object, body: bytes) -> Reply:
        self.url, self.headers, self.body = url, dict(headers), body  # type: ignore[call-overload]
        return Reply(201, {}, self._answer)
