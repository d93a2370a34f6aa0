"""DTLS-SRTP: the sound's keys by a handshake on the sound's own way (RFC 5763, RFC 5764).

The certificate is made when the process starts and lives in memory only. Whoever we speak with is known by the fingerprint
in its session description and by nothing else. DTLS 1.2: what the telephones speak.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from nightbell.core import clock
from nightbell.sip.srtp import PROFILES, Fingerprint, Security, SrtpKeys

SECONDS = 10.0  # a handshake that takes longer has failed
MTU = 1200  # bytes of a datagram: through every tunnel
_AFTER = 15.0  # for so long the other side may ask for our last flight again
MOST_A_SECOND = 200  # datagrams that are looked at: a flood must not cost the other calls their time
_DTLS_1_2 = 0xFEFD
_COOKIES = 1 << 13  # SSL_OP_COOKIE_EXCHANGE
_HANDSHAKE, _HELLO = 22, 1  # type of a record, type of a handshake's message
_RECORD = 13  # bytes of a record's header, the last two are its length (RFC 6347 §4.1)
_CIPHERS = b":".join(
    b"ECDHE-%s-%s" % (sign, cipher)
    for cipher in (b"AES128-GCM-SHA256", b"AES256-GCM-SHA384", b"CHACHA20-POLY1305", b"AES128-SHA")
    for sign in (b"ECDSA", b"RSA")
)
_OPENSSL = {
    "AEAD_AES_256_GCM": b"SRTP_AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM": b"SRTP_AEAD_AES_128_GCM",
    "AES_CM_128_HMAC_SHA1_80": b"SRTP_AES128_CM_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32": b"SRTP_AES128_CM_SHA1_32",
}
_OURS = {name: profile for profile, name in _OPENSSL.items()}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha-512": hashes.SHA512(),
    "sha-384": hashes.SHA384(),
    "sha-256": hashes.SHA256(),
}


class Identity:
    """Our certificate, made here and now, and the context that every handshake uses."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phone")])
        now = clock.utc_now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = Fingerprint("sha-256", certificate.fingerprint(hashes.SHA256()))
        self.context = context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        # A cookie first: who cannot be reached where it claims to be gets no certificate sent there (RFC 6347 §4.2.1).
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | _COOKIES)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True
        )  # by fingerprint
        context.use_certificate(certificate)
        context.use_privatekey(key)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(b":".join(_OPENSSL.values()))
        context.set_cookie_generate_callback(lambda one: bytes(one.get_app_data()))
        context.set_cookie_verify_callback(
            lambda one, cookie: hmac.compare_digest(bytes(one.get_app_data()), cookie)
        )


@cache
def identity() -> Identity:
    """Of this process."""
    return Identity()


def matches(certificate: x509.Certificate, theirs: tuple[Fingerprint, ...]) -> bool:
    """Whether this certificate is the one that was spoken of: by the strongest hash that was given (RFC 8122 §5)."""
    for name, algorithm in _HASHES.items():
        values = [one.value for one in theirs if one.algorithm == name]
        if values:
            digest = certificate.fingerprint(algorithm)
            return any(hmac.compare_digest(value, digest) for value in values)
    return False


def datagrams(data: bytes, most: int = MTU) -> list[bytes]:
    """Records one after the other, as datagrams of at most `most` bytes if the records are no longer. A rest that is no
    whole record goes as it is."""
    out: list[bytes] = []
    at, begun = 0, 0
    while at < len(data):
        size = _RECORD + int.from_bytes(data[at + 11 : at + _RECORD], "big")
        if at > begun and at + size - begun > most:
            out.append(data[begun:at])
            begun = at
        at += size
    return [*out, data[begun:]] if begun < len(data) else out


class Rate:
    """How many datagrams are looked at in a second."""

    def __init__(self) -> None:
        self._since, self._count = 0.0, 0

    def allows(self, now: float) -> bool:
        """Whether one more is. now: monotonic seconds."""
        if now - self._since >= 1.0:
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= MOST_A_SECOND


def _connection(active: bool, cookie: bytes) -> SSL.Connection:
    connection = SSL.Connection(identity().context, None)
    connection.set_app_data(cookie)
    connection.set_ciphertext_mtu(MTU)
    if active:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def says_hello(data: bytes) -> bool:
    """Whether it looks like the first datagram of a client: a ClientHello that is not encrypted (RFC 6347 §4.1)."""
    return len(data) > _RECORD and data[0] == _HANDSHAKE and data[3:5] == b"\0\0" and data[_RECORD] == _HELLO


def listen(data: bytes, cookie: bytes) -> tuple[SSL.Connection | None, bytes]:
    """What a hello is worth: a connection when it brought this cookie back, else what is to be answered, perhaps nothing.
    Nothing is kept of whoever has not shown that it is reached where it claims to be (RFC 6347 §4.2.1)."""
    connection = _connection(False, cookie)
    connection.bio_write(data)
    try:
        connection.DTLSv1_listen()
    except SSL.Error:  # also: not yet
        answer = pending(connection)
        # The library counts its records from 1 whatever number the cookie had (that of the hello): a client would take one
        # of them for a replay. So the cookie is number 0.
        return None, answer and answer[:5] + bytes(6) + answer[11:]
    return connection, b""


def pending(connection: SSL.Connection) -> bytes:
    """What a connection has to send."""
    try:
        return connection.bio_read(65_536)
    except SSL.Error:
        return b""


class Handshake:
    """One association with one other side. All of it in the event loop; `feed` what arrives, `close` when the call is over.

    send: a datagram to the other side. done: called once, with the keys or with None when there will be none; why: then
    says which: 'stalled', 'refused' (by the other side or for what it sent) or 'stranger' (not the certificate that was
    spoken of).
    """

    def __init__(
        self,
        security: Security,
        send: Callable[[bytes], None],
        done: Callable[[SrtpKeys | None], None],
        seconds: float = SECONDS,
        bound: SSL.Connection | None = None,
    ) -> None:
        """bound: of `listen`, for whoever has sent its cookie back; such a one does not begin anew."""
        self.security, self.why = security, ""
        self._send, self._done, self._seconds = send, done, seconds
        self._loop = asyncio.get_running_loop()
        self._active = security.setup == "active"
        self._repeat: asyncio.TimerHandle | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._over = False
        self._rate, self._bound = Rate(), bound is not None
        self._connection: SSL.Connection | None = bound or self._begin()

    def start(self) -> None:
        """The other side is there: from now on there is a limit, and who is active begins. Idempotent."""
        if self._limit is None and self._connection is not None:
            self._limit = self._loop.call_later(self._seconds, self._stalled)
            if self._active:
                self._step()

    def feed(self, data: bytes) -> None:
        """One datagram."""
        if self._connection is None or not self._rate.allows(clock.monotonic()):
            return
        self.start()
        self._connection.bio_write(data)
        self._step()

    def go_on(self) -> None:
        """After `listen`: with what that took."""
        self.start()
        self._step()

    def close(self) -> None:
        """No more. Idempotent."""
        for timer in (self._repeat, self._limit):
            if timer is not None:
                timer.cancel()
        self._connection = None
        self._over = True

    def _begin(self) -> SSL.Connection:
        return _connection(self._active, secrets.token_bytes(16))

    def _step(self) -> None:
        """As far as it goes with what has arrived."""
        connection = self._connection
        if connection is None:
            return
        try:
            if self._over:
                connection.recv(1)  # nothing but our last flight is ever asked for
            else:
                connection.do_handshake()
                self._flush(connection)
                self._finish(connection)
        except SSL.WantReadError:
            pass
        except SSL.Error:
            # Without an alert: the datagram may be forged, and its true sender would give up.
            self._broken()
            return
        self._flush(connection)
        self._set_timer()

    def _flush(self, connection: SSL.Connection) -> None:
        for datagram in datagrams(pending(connection)):
            self._send(datagram)

    def _set_timer(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None
        if self._connection is not None and not self._over:
            seconds = self._connection.DTLSv1_get_timeout()
            if seconds is not None:
                self._repeat = self._loop.call_later(max(0.01, seconds), self._again)

    def _again(self) -> None:
        """A flight of ours was not answered: once more."""
        connection = self._connection
        if connection is None or self._over:
            return
        try:
            connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self._broken()
            return
        self._flush(connection)
        self._set_timer()

    def _finish(self, connection: SSL.Connection) -> None:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        profile = _OURS.get(connection.get_selected_srtp_profile())
        if profile is None:
            self._fail("refused")
        elif certificate is None or not matches(certificate, self.security.theirs):
            self._fail("stranger")
        else:
            self._over = True
            if self._limit is not None:
                self._limit.cancel()
            self._limit = self._loop.call_later(_AFTER, self.close)
            self._done(self._keys(connection, profile))

    def _keys(self, connection: SSL.Connection, profile: str) -> SrtpKeys:
        """RFC 5764 §4.2: the client's key, the server's, the client's salt, the server's."""
        key, salt = PROFILES[profile]
        material = connection.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (key + salt))
        client = material[:key] + material[2 * key : 2 * key + salt]
        server = material[key : 2 * key] + material[2 * key + salt :]
        return SrtpKeys(profile, client, server) if self._active else SrtpKeys(profile, server, client)

    def _broken(self) -> None:
        """What came made no sense, or the other side gave up. A forged datagram must not end a call: begin anew."""
        if self._over:
            self.close()
            return
        if self._active or self._bound:
            self._fail("refused")
        else:
            self._connection = self._begin()

    def _stalled(self) -> None:
        self._fail("stalled")

    def _fail(self, why: str) -> None:
        if not self._over:
            self.why = why
            self.close()
            self._done(None)
