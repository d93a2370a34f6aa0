"""E-mail by SMTP submission (RFC 6409), over verified TLS or not at all (RFC 8314, RFC 3207)."""

from __future__ import annotations

import smtplib
import ssl
import threading
import time
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from nightbell.adapters import letters
from nightbell.core.clock import SYSTEM, Clock
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import ChannelError, Receipt, Rendered

_PORTS = {"smtp": 587, "smtps": 465}
_SETTING = "NIGHTBELL_SMTP"
TIMEOUT = 10.0  # seconds for each answer of the server
KEPT_S = 2.0  # seconds that a connection waits for another letter


class SmtpChannel:
    """Implements `core.notice.Channel`.

    url: smtp://[user:password@]host[:port] (STARTTLS required) or smtps:// (TLS from the first byte), user
    and password percent-encoded; sender: address in From; ca_file: PEM with the certificate authorities to
    trust instead of the system's. Raises RefusedStart, which never repeats the URL.
    """

    name = "email"

    def __init__(
        self,
        url: str,
        sender: str,
        ca_file: str | None = None,
        clock: Clock = SYSTEM,
        timeout: float = TIMEOUT,
    ) -> None:
        parts = urlsplit(url)
        try:
            self._host, self._port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise RefusedStart(_SETTING, "its port is not a number", "write smtp://host:587") from None
        if parts.scheme not in _PORTS or not self._host:
            raise RefusedStart(_SETTING, "it is not an SMTP address", "write smtp://host or smtps://host")
        self._wrapped = parts.scheme == "smtps"
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender, self._clock, self._timeout, self._kept = sender, clock, timeout, _Kept()
        try:
            self._tls = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ssl.SSLError):
            why = "it holds no certificates that can be read"
            raise RefusedStart("NIGHTBELL_SMTP_CA", why, "name a PEM file, or leave it empty") from None

    def send(self, rendered: Rendered, address: str, reference: str) -> Receipt:
        """See `core.notice.Channel`. The answer names a code and our words, never the server's text."""
        data = letters.compose(rendered, self._sender, address, reference, self._clock.now())
        try:
            self._deliver(address, data)
        except (smtplib.SMTPException, OSError) as error:
            # `from None`: what the server said, and what we said to it, stays out of logs.
            raise _refusal(error) from None
        return Receipt(data, "accepted by the mail server")

    def _deliver(self, address: str, data: bytes) -> None:
        """Over a connection that is open from the letter before, else over a new one."""
        client = self._kept.take()
        if client is not None and self._handed_over(client, address, data, known=True):
            return
        self._handed_over(self._greeted(), address, data, known=False)

    def _handed_over(self, client: smtplib.SMTP, address: str, data: bytes, known: bool) -> bool:
        """Whether the server took it. known: the connection was kept; False if it is no good any more: the server has
        nothing of this letter, so that it may go over another one. Raises what smtplib raises, and _MayHaveLeftError."""
        try:
            if known and not _is_alive(client):
                client.close()
                return False
            self._submit(client, address, data)
        except BaseException as error:
            _end(client)
            if known and isinstance(error, smtplib.SMTPSenderRefused):
                return False  # some servers take so many letters over one connection and no more
            raise
        self._kept.keep(client)
        return True

    def _greeted(self) -> smtplib.SMTP:
        """A new connection, encrypted and logged in."""
        client = self._connect()
        try:
            if not self._wrapped:
                client.starttls(context=self._tls)
            if self._user:
                client.login(self._user, self._password)
        except BaseException:
            _end(client)
            raise
        return client

    def _connect(self) -> smtplib.SMTP:
        own_name = self._sender.rpartition("@")[2]
        if self._wrapped:
            return smtplib.SMTP_SSL(
                self._host, self._port, own_name, timeout=self._timeout, context=self._tls
            )
        return smtplib.SMTP(self._host, self._port, own_name, timeout=self._timeout)

    def _submit(self, client: smtplib.SMTP, address: str, data: bytes) -> None:
        try:
            client.sendmail(self._sender, [address], data)
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            if isinstance(error, smtplib.SMTPResponseException | smtplib.SMTPRecipientsRefused):
                raise
            raise _MayHaveLeftError from None


class _Kept:
    """Connections that stay open for a moment, for the next letters of a burst. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[smtplib.SMTP, float]] = []
        self._closing = False

    def take(self) -> smtplib.SMTP | None:
        with self._lock:
            return self._idle.pop()[0] if self._idle else None

    def keep(self, client: smtplib.SMTP) -> None:
        with self._lock:
            self._idle.append((client, time.monotonic()))
            if self._closing:
                return
            self._closing = True
        threading.Thread(target=self._close_old, name="smtp-idle", daemon=True).start()

    def _close_old(self) -> None:
        while True:
            time.sleep(KEPT_S / 2)
            with self._lock:
                before = time.monotonic() - KEPT_S
                old = [client for client, since in self._idle if since < before]
                self._idle = [one for one in self._idle if one[1] >= before]
                self._closing = bool(self._idle)
                closing = self._closing
            for client in old:
                _end(client)
            if not closing:
                return


def _is_alive(client: smtplib.SMTP) -> bool:
    """Whether the server still listens on a connection that was idle."""
    try:
        return client.rset()[0] == 250
    except (smtplib.SMTPException, OSError):
        return False


def _end(client: smtplib.SMTP) -> None:
    with suppress(OSError, smtplib.SMTPException):
        client.quit()
    client.close()


class _MayHaveLeftError(OSError):
    """The connection ended while the mail was handed over: the server may have it."""


def _refusal(error: Exception) -> ChannelError:
    """What went wrong, as a decision for the escalation: is the same again of any use?"""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ChannelError("the mail server's certificate is not to be trusted", permanent=True)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return ChannelError("the mail server offers no STARTTLS or no known log-in", permanent=True)
    if isinstance(error, _MayHaveLeftError):
        return ChannelError("the mail server did not confirm it: it may have left", unsure=True)
    code = _code(error)
    if code:
        return ChannelError(f"the mail server answered {code}", permanent=500 <= code < 600)
    return ChannelError("the mail server was not reached, did not answer in time, or hung up")


def _code(error: Exception) -> int:
    """The SMTP reply code in an error, 0 if there is none."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=0)
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code if error.smtp_code > 0 else 0
    return 0
