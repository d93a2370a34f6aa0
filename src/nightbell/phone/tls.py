"""TLS for SIP over TCP (RFC 3261 §26, RFC 5922): contexts from certificates, and one stream's records in memory.

Both ends of a stream are bytes: what came from the socket goes in, what must go to the socket comes out. So a stream
is admitted, bounded and timed by its connection, before the first byte of a handshake as after it.
"""

from __future__ import annotations

import ipaddress
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from OpenSSL import SSL, crypto

from nightbell.core.errors import NightbellError, RefusedStart

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; 1.3 has only good ones
MAX_HANDSHAKE = 131_072  # bytes: the longest chains of certificates are a tenth of it
DISTRUSTED = "certificate verify failed"  # OpenSSL's words
_CHUNK = 65_536
_WRONG_PURPOSE = 26  # X509_V_ERR_INVALID_PURPOSE


class TlsBroken(NightbellError):
    """The handshake failed, or a record is not in order: the connection is of no use. The why has no PHI."""

    def __init__(self, why: str) -> None:
        super().__init__("a TLS connection", why, "it is closed")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its private key: two PEM files."""

    certificate: Path
    key: Path


class Tls:
    """Makes streams. It listens only when there is a certificate; it can always connect.

    main: shown to whoever names no host, or one that is not in `named` (SNI). ca: PEM file of authorities that are
    believed beside the system's; client: shown to a server that asks for one. Raises RefusedStart. All files are read here: later the process may not open them.
    """

    def __init__(
        self,
        main: Pair | None = None,
        named: Mapping[str, Pair] | None = None,
        ca: Path | None = None,
        client: Pair | None = None,
    ) -> None:
        self._client = _context(SSL.TLS_CLIENT_METHOD, ca)
        if client is not None:
            _show(self._client, client)
        self._client.set_verify(SSL.VERIFY_PEER, _strict)
        self._server = None if main is None else _server(main, ca)
        others = {host.lower(): _server(pair, ca) for host, pair in (named or {}).items()}
        if self._server is not None and others:
            self._server.set_tlsext_servername_callback(lambda stream: _choose(stream, others))

    @property
    def listens(self) -> bool:
        return self._server is not None

    def accept(self) -> TlsStream:
        """A stream that somebody else began. A certificate of theirs is asked for and not required."""
        if self._server is None:
            raise TlsBroken("there is no certificate")
        connection = SSL.Connection(self._server, None)
        connection.set_accept_state()
        return TlsStream(connection)

    def connect(self, name: str) -> TlsStream:
        """A stream that we begin. name: whose certificate it must be, a host name or an address."""
        connection = SSL.Connection(self._client, None)
        connection.set_connect_state()
        if not _is_address(name):
            connection.set_tlsext_host_name(name.encode("ascii"))
        return TlsStream(connection, name.lower())


class TlsStream:
    """One stream's TLS. names: of the other's certificate, if an authority that we believe has signed it, else none."""

    def __init__(self, connection: SSL.Connection, expected: str = "") -> None:
        self.done = self.ended = False  # the handshake is over; the other says that no more follows
        self.names: tuple[str, ...] = ()
        self.seen = self.doubtful = False  # whether a certificate was shown, and anything was wrong with it
        self._connection, self._expected = connection, expected
        self._handshake = 0
        connection.set_app_data(weakref.ref(self))  # the other way round they would keep each other

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the socket; gives what they say, b'' during the handshake. Raises TlsBroken; see `out` also then."""
        try:
            self._connection.bio_write(data)
            if not self.done:
                self._handshake += len(data)
                if self._handshake > MAX_HANDSHAKE:
                    raise TlsBroken("its handshake is too long")
                self._shake()
            return self._read() if self.done else b""
        except SSL.Error as error:
            raise TlsBroken(_why(error)) from error

    def begin(self) -> None:
        """Make the first bytes of a stream that we begin."""
        self._shake()

    def write(self, data: bytes) -> None:
        """Say something; `out` has the bytes. Only once it is `done`. Raises TlsBroken."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise TlsBroken(_why(error)) from error

    def end(self) -> None:
        """Say that no more follows (close_notify), so that nobody can have cut the end off unnoticed."""
        if self.done:
            try:
                self._connection.shutdown()
            except SSL.Error:
                return

    def out(self) -> bytes:
        """What must go to the socket now."""
        parts = []
        while True:
            try:
                parts.append(self._connection.bio_read(_CHUNK))
            except SSL.Error:  # WantReadError: there is no more
                return b"".join(parts)

    def _shake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        self.done = True
        if self.seen and not self.doubtful:
            try:
                certificate = self._connection.get_peer_certificate(as_cryptography=True)
                self.names = names_of(certificate) if certificate is not None else ()
            except ValueError:  # OpenSSL reads some that are malformed
                self.names = ()
        if self._expected and not covers(self.names, self._expected):
            raise TlsBroken("its certificate is not for the name that we asked for")

    def _read(self) -> bytes:
        parts = []
        while True:
            try:
                parts.append(self._connection.recv(_CHUNK))
            except SSL.WantReadError:
                return b"".join(parts)
            except SSL.ZeroReturnError:
                self.ended = True
                return b"".join(parts)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Whom a certificate names (RFC 5922 §7.1): hosts of its sip: URIs, DNS names and addresses. Its common name
    counts only where it has no such list at all: a list without a host is the authority's word that it names none."""
    found: list[str] = []
    alternative = None
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
        alternative = extension.value
    except x509.ExtensionNotFound:
        found = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError:
        return ()
    if isinstance(alternative, x509.SubjectAlternativeName):
        for uri in alternative.get_values_for_type(x509.UniformResourceIdentifier):
            if uri.lower().startswith("sip:") and "@" not in uri:
                found.append(uri[4:].partition(";")[0])
        found += alternative.get_values_for_type(x509.DNSName)
        found += [str(one) for one in alternative.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(name.lower() for name in found))


def covers(names: tuple[str, ...], wanted: str) -> bool:
    """Whether one of a server's names is `wanted`.

    RFC 5922 §7.2 forbids wildcards. Large carriers' certificates have nothing else, so that one for the whole first
    label is taken, as browsers do; a caller's certificate is compared exactly (phone.policy).
    """
    wanted = wanted.lower().rstrip(".")
    if wanted in names:
        return True
    _, _, parent = wanted.partition(".")
    return "." in parent and not _is_address(wanted) and f"*.{parent}" in names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _context(method: int, ca: Path | None) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    # A session that is taken up again would skip the look at the certificate.
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_default_verify_paths()
    if ca is not None:
        try:
            context.load_verify_locations(str(ca))
        except SSL.Error as error:
            raise RefusedStart(
                "NIGHTBELL_SIP_CA", f"no certificate can be read from {ca}", "name a PEM file"
            ) from error
    store = context.get_cert_store()
    if store is not None:
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # a certificate that is believed ends the chain
    return context


def _server(pair: Pair, ca: Path | None) -> SSL.Context:
    context = _context(SSL.TLS_SERVER_METHOD, ca)
    context.set_verify(SSL.VERIFY_PEER, _lenient)
    _show(context, pair)
    return context


def _show(context: SSL.Context, pair: Pair) -> None:
    try:
        context.use_certificate_chain_file(str(pair.certificate))
        context.use_privatekey_file(str(pair.key))
        context.check_privatekey()
    except SSL.Error as error:
        raise RefusedStart(
            f"the certificate {pair.certificate}",
            f"it, or its key {pair.key}, cannot be read, or they do not belong together",
            "give a PEM file with the whole chain, and its unencrypted key",
        ) from error


def _choose(connection: SSL.Connection, others: Mapping[str, SSL.Context]) -> None:
    name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
    context = others.get(name)
    if context is not None:
        connection.set_context(context)


def _strict(connection: SSL.Connection, _certificate: object, _error: int, _depth: int, good: int) -> bool:
    stream = connection.get_app_data()()  # it is there: its handshake is what calls us
    stream.seen = True
    return bool(good)


def _lenient(connection: SSL.Connection, _certificate: object, error: int, depth: int, good: int) -> bool:
    """A caller's certificate that proves nothing is as good as none, and no reason to end the handshake.

    Public authorities issue hardly any certificate for clients any more: one for servers proves the name as well.
    """
    stream = connection.get_app_data()()  # it is there: its handshake is what calls us
    stream.seen = True
    if not good and not (error == _WRONG_PURPOSE and depth == 0):
        stream.doubtful = True
    return True


def _why(error: SSL.Error) -> str:
    """OpenSSL's own fixed words; nothing of what the other side sent."""
    reasons = [str(one[2]) for one in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(reasons) or "it ended in the middle"
