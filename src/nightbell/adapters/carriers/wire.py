"""HTTPS to a provider: verified, bounded in size and time, and never to a host that is not on its list."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from nightbell.core.carriers import MOST_BYTES, BadRecording, CarrierAway, NotThere
from nightbell.core.clock import SYSTEM, Clock

SOCKET_SECONDS = 15.0  # between two bytes
ALL_SECONDS = 120.0  # for one answer, so that a slow one cannot hold the worker for ever
MOST_ANSWER = 1_000_000  # bytes of an answer that is no recording
HOPS = 3
_PIECE = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of HTTP; kind: the content type without parameters, lower case."""

    status: int
    kind: str
    body: bytes


class Wire:
    """One provider's API and the hosts that its recordings may lie on.

    base: 'https://host[:port]'; media: hosts, '.domain' for all below it, or patterns of whole names, that may be asked
    without credentials; seconds: for one answer, from the first byte of the request to the last one of the body.
    """

    def __init__(
        self,
        base: str,
        media: tuple[str | re.Pattern[str], ...],
        ca_file: str = "",
        clock: Clock = SYSTEM,
        seconds: float = ALL_SECONDS,
    ) -> None:
        self.base, self._media, self._clock, self._seconds = base.rstrip("/"), media, clock, seconds
        self._home = urlsplit(self.base)
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        most: int = MOST_ANSWER,
        follow: bool = False,
    ) -> Answer:
        """One request to the API, or to a full address on the list. Raises CarrierAway, BadRecording (too large, or
        sent elsewhere). headers: credentials, given to the API's own host alone."""
        url, until = urljoin(self.base + "/", path), self._clock.monotonic() + self._seconds
        for _ in range(HOPS + 1):
            answer, target = self._once(method, url, headers, most, until)
            if not target:
                return answer
            if not follow:
                raise BadRecording("a carrier's answer", "it was sent elsewhere")
            url = urljoin(url, target)
        raise BadRecording("a carrier's answer", "it was sent on too often")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], most: int, until: float
    ) -> tuple[Answer, str]:
        parts = urlsplit(url)
        ours = (parts.scheme, parts.netloc) == (self._home.scheme, self._home.netloc)
        if not ours and not self._may(parts.scheme, parts.hostname or "", parts.port):
            raise BadRecording("a recording", "its address is not on the list of the carrier's hosts")
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, timeout=SOCKET_SECONDS, context=self._tls
        )
        try:
            connection.connect()
            with self._bounded(connection.sock, until):
                where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request(method, where, headers=dict(headers) if ours else {})
                return self._answered(connection.getresponse(), most, until)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = self._clock.monotonic() > until
            why = "its answer takes too long" if late else f"it cannot be reached ({type(error).__name__})"
            raise CarrierAway("The carrier", why, "wait") from error
        finally:
            connection.close()

    def _answered(self, response: http.client.HTTPResponse, most: int, until: float) -> tuple[Answer, str]:
        target = ""
        if response.status in (301, 302, 303, 307, 308):
            target = response.getheader("Location") or ""
        body = b"" if target else self._read(response, most, until)
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        return Answer(response.status, kind, body), target

    @contextmanager
    def _bounded(self, sock: socket.socket, until: float) -> Iterator[None]:
        """Ends the connection when time is up: headers that come byte by byte are read by a library that does not look."""
        left = max(0.0, until - self._clock.monotonic())
        timer = threading.Timer(left, _end, (sock,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _may(self, scheme: str, host: str, port: int | None) -> bool:
        return scheme == "https" and port in (None, 443) and any(_fits(host, one) for one in self._media)

    def _read(self, response: http.client.HTTPResponse, most: int, until: float) -> bytes:
        """Everything, or CarrierAway when it was cut or took too long, or BadRecording when it is too much."""
        told = response.getheader("Content-Length")
        length = int(told) if told is not None and not response.chunked else None
        if length is not None and length > most:
            raise _too_much(most)
        out = bytearray()
        while length is None or len(out) < length:
            # read1 gives what is there: read would wait for the whole piece, however slowly it comes.
            piece = response.read1(_PIECE if length is None else min(_PIECE, length - len(out)))
            if not piece:
                break
            out += piece
            if len(out) > most:
                raise _too_much(most)
            if self._clock.monotonic() > until:
                raise CarrierAway("The carrier", "its answer takes too long", "wait")
        if self._clock.monotonic() > until:
            raise CarrierAway("The carrier", "its answer takes too long", "wait")
        if length is not None and len(out) < length:
            raise CarrierAway("The carrier", "its answer was cut short", "wait")
        return bytes(out)

    def json(
        self, path: str, headers: Mapping[str, str], unknown: tuple[int, ...] = (404,)
    ) -> dict[str, Any]:
        """Raises NotThere (for the statuses `unknown`), CarrierAway (any other but 200, or no JSON object)."""
        answer = self.ask("GET", path, headers)
        if answer.status in unknown:
            raise NotThere("The carrier", "it does not know this call or recording")
        _expect(answer, 200)
        try:
            found = json.loads(answer.body)
        except ValueError as error:
            raise CarrierAway("The carrier", "its answer is not JSON", "wait") from error
        if not isinstance(found, dict):
            raise CarrierAway("The carrier", "its answer is not a JSON object", "wait")
        return found

    def sound(self, path: str, headers: Mapping[str, str]) -> bytes:
        """A sound file. Raises NotThere, CarrierAway, BadRecording."""
        answer = self.ask("GET", path, headers, MOST_BYTES, follow=True)
        if answer.status in (404, 410):
            raise NotThere("The carrier", "it does not have this recording")
        _expect(answer, 200)
        if not answer.kind.startswith("audio/") and answer.kind not in _SOUND:
            raise BadRecording("a recording", f"the carrier says that it is {answer.kind[:40] or 'nothing'}")
        return answer.body

    def delete(self, path: str, headers: Mapping[str, str]) -> bool:
        """False when it was not there any more."""
        answer = self.ask("DELETE", path, headers)
        if answer.status == 404:
            return False
        _expect(answer, 200, 202, 204)
        return True


def _fits(host: str, one: str | re.Pattern[str]) -> bool:
    if isinstance(one, re.Pattern):
        return one.fullmatch(host) is not None
    return host.endswith(one) if one.startswith(".") else host == one


def _end(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS: its own state belongs to the other thread
    except OSError:
        return  # it is closed already


def _too_much(most: int) -> BadRecording:
    return BadRecording("a carrier's answer", f"it has more than {most} bytes")


_SOUND = ("application/octet-stream", "binary/octet-stream")


def _expect(answer: Answer, *statuses: int) -> None:
    if answer.status not in statuses:
        mend = "look at its credentials" if answer.status in (401, 403) else "wait"
        raise CarrierAway("The carrier", f"it answered {answer.status}", mend)


def text(found: Mapping[str, Any], name: str) -> str:
    """A field that should be text."""
    value = found.get(name)
    return value if isinstance(value, str) else ""
