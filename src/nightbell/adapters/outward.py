"""One HTTPS POST to the outside: verified, bounded in time and size, never sent on, and not into the house.

An address that a browser or a person gave could name a machine of the practice's own network: each address that the
name stands for is looked at, and the connection goes to exactly the one that was looked at, so that a second look-up
cannot lead elsewhere. That it may have been taken although no answer came is told (`ChannelError.unsure`).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.notice import ChannelError
from nightbell.core.outside import is_outside

SECONDS = 10.0  # for all of it, but the look-up of the name, which `bounded` bounds
MOST_ANSWER = 65_536  # bytes that are read; what follows is left
LONGEST_WAIT = 3600.0  # seconds that we let a far side put us off


@dataclass(frozen=True, slots=True)
class Reply:
    """headers: by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def after_s(self, now: datetime) -> float:
        """How long the far side asks to be left alone (RFC 9110 10.2.3); 0 when it does not say."""
        told = self.headers.get("retry-after", "").strip()
        if told.isascii() and told.isdigit():
            return min(float(told[:9]), LONGEST_WAIT)
        try:
            moment = parsedate_to_datetime(told)
        except (TypeError, ValueError):
            return 0.0
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - now).total_seconds()), LONGEST_WAIT)


class Outward:
    """who: the far side, in the words of an answer; private: also to addresses of private networks, and any port."""

    def __init__(
        self,
        who: str,
        private: bool = False,
        ca_file: str = "",
        clock: Clock = SYSTEM,
        seconds: float = SECONDS,
    ) -> None:
        self.who, self._private, self._clock, self._seconds = who, private, clock, seconds
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Raises ChannelError: permanent for an address that we do not go to, unsure when it may have been taken."""
        until = self._clock.monotonic() + self._seconds
        parts = self._checked(url)
        raw = self._connect(parts, until)
        with self._bounded(raw, until):
            try:
                raw.settimeout(self._seconds)
                sock = self._tls.wrap_socket(raw, server_hostname=parts.hostname)
            except ssl.SSLCertVerificationError:
                raw.close()
                raise ChannelError(f"{self.who}'s certificate is not to be trusted", permanent=True) from None
            except (OSError, ValueError):
                raw.close()
                raise ChannelError(f"{self.who} was not reached") from None
            return self._ask(parts, sock, headers, body, until)

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ChannelError("the address cannot be read", permanent=True) from None
        plain = parts.scheme == "https" and parts.hostname and not parts.username and not parts.password
        if not plain or not url.isascii() or any(one <= " " for one in url):
            raise ChannelError("the address is not one of https", permanent=True)
        if not self._private and port not in (None, 443):
            raise ChannelError("the address names a port of its own", permanent=True)
        return parts

    def _connect(self, parts: SplitResult, until: float) -> socket.socket:
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise ChannelError(f"{self.who}'s name was not found") from None
        if not self._private and not all(is_outside(str(one[4][0])) for one in found):
            raise ChannelError("the address lies in a private network", permanent=True)
        for family, kind, proto, _, address in found:
            left = until - self._clock.monotonic()
            if left <= 0:
                break
            sock = socket.socket(family, kind, proto)
            try:
                sock.settimeout(left)
                sock.connect(address)
            except OSError:
                sock.close()
                continue
            return sock
        raise ChannelError(f"{self.who} was not reached")

    def _ask(
        self, parts: SplitResult, sock: ssl.SSLSocket, headers: Mapping[str, str], body: bytes, until: float
    ) -> Reply:
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, context=self._tls)
        connection.sock = sock
        where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(
                "POST", where, body=body, headers={**headers, "Content-Length": str(len(body))}
            )
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            data = response.read(MOST_ANSWER)
            cut = response.length and len(data) < MOST_ANSWER
            if cut or self._clock.monotonic() > until:  # headers that end early look whole to the library
                raise http.client.IncompleteRead(data, response.length)
            return Reply(response.status, told, data)
        except (OSError, http.client.HTTPException, ValueError):
            # What was sent lies in the other side's hands from its first byte on.
            raise ChannelError(f"{self.who} did not answer in time: it may have left", unsure=True) from None
        finally:
            connection.close()
            sock.close()

    @contextmanager
    def _bounded(self, sock: socket.socket, until: float) -> Iterator[None]:
        """Ends the connection when time is up, however slowly bytes come."""
        other = sock.dup()  # the first one goes over to TLS, whose state belongs to our own thread
        timer = threading.Timer(max(0.0, until - self._clock.monotonic()), _end, (other,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            other.close()


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already
