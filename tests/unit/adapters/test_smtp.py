"""E-mail against a real SMTP server with a certificate authority of its own."""

from __future__ import annotations

import email
import email.policy
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.ports import free_port
from tests.stack import wait_for

from nightbell.adapters import smtp
from nightbell.adapters.smtp import SmtpChannel
from nightbell.core.errors import RefusedStart
from nightbell.core.notice import Channel, ChannelError, Receipt, Rendered

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult, LoginPassword

REFERENCE = "01JDE8Q4T0ABCDEFGHJKMNPQRS"
WORDS = Rendered("Nightbell: urgente", "Hay un mensaje que espera en la línea.\n. una línea con punto\n")
SENDER = "line@practice.example"
PASSWORD = "s3cret/pass word"


class Inbox:
    """Takes mail, or answers as it is told."""

    def __init__(self, rcpt: str = "", data: str = "") -> None:
        self.rcpt, self.data = rcpt, data
        self.letters: list[tuple[str, list[str], bytes, bool]] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.data:
            return self.data
        self.letters.append(
            (envelope.mail_from, envelope.rcpt_tos, envelope.content, session.ssl is not None)
        )
        return "250 taken"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: str, key: Any, issuer: str, by: Any, authority: bool) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
    )
    names = [x509.IPAddress(IPv4Address("127.0.0.1"))]
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(by, hashes.SHA256())


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's context and the file of the authority that vouches for it."""
    folder = tmp_path_factory.mktemp("tls")
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(_certificate("root", root, "root", root, True).public_bytes(pem))
    (folder / "leaf.pem").write_bytes(
        leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + _certificate("mail", leaf, "root", root, False).public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    return context, str(folder / "ca.pem")


def _check_password(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and data == LoginPassword(b"line@practice", PASSWORD.encode())
    return AuthResult(success=right, handled=False)


Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[Controller] = []

    def start(inbox: Inbox, **options: Any) -> int:
        controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), **options)
        controller.start()
        running.append(controller)
        return int(controller.port)

    yield start
    for controller in running:
        controller.stop()


def _failure(channel: SmtpChannel, address: str = "alice@example.invalid") -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        channel.send(WORDS, address, REFERENCE)
    return caught.value


def test_it_delivers_over_starttls_exactly_the_bytes_that_it_reports(
    serve: Serve, tls: tuple[ssl.SSLContext, str]
) -> None:
    inbox = Inbox()
    port = serve(inbox, tls_context=tls[0], require_starttls=True)
    channel: Channel = SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1])
    receipt: Receipt = channel.send(WORDS, "alice@example.invalid", REFERENCE)
    ((mail_from, recipients, content, encrypted),) = inbox.letters
    assert (mail_from, recipients, encrypted) == (SENDER, ["alice@example.invalid"], True)
    assert content == receipt.sent
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message.get_content().replace("\r\n", "\n") == WORDS.body
    assert message["Message-ID"] == f"<{REFERENCE}@practice.example>"


def test_it_logs_in_with_a_percent_encoded_password(serve: Serve, tls: tuple[ssl.SSLContext, str]) -> None:
    inbox = Inbox()
    options = {"tls_context": tls[0], "authenticator": _check_password, "auth_required": True}
    port = serve(inbox, **options)
    url = f"smtp://line%40practice:s3cret%2Fpass%20word@127.0.0.1:{port}"
    SmtpChannel(url, SENDER, tls[1]).send(WORDS, "alice@example.invalid", REFERENCE)
    assert len(inbox.letters) == 1
    error = _failure(SmtpChannel(url.replace("s3cret", "wr0ng"), SENDER, tls[1]))
    assert error.permanent
    assert "535" in error.answer
    assert "wr0ng" not in repr(error) + str(error.__cause__)
    assert error.__suppress_context__


def test_it_speaks_tls_from_the_first_byte_when_asked(serve: Serve, tls: tuple[ssl.SSLContext, str]) -> None:
    inbox = Inbox()
    port = serve(inbox, ssl_context=tls[0])
    SmtpChannel(f"smtps://127.0.0.1:{port}", SENDER, tls[1]).send(WORDS, "alice@example.invalid", REFERENCE)
    assert len(inbox.letters) == 1


def test_it_sends_nothing_in_the_clear(serve: Serve, tls: tuple[ssl.SSLContext, str]) -> None:
    inbox = Inbox()
    port = serve(inbox)
    error = _failure(SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1]))
    assert error.permanent
    assert "STARTTLS" in error.answer
    assert inbox.letters == []


def test_it_refuses_a_certificate_of_an_unknown_authority(
    serve: Serve, tls: tuple[ssl.SSLContext, str]
) -> None:
    inbox = Inbox()
    port = serve(inbox, tls_context=tls[0], require_starttls=True)
    error = _failure(SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER))
    assert error.permanent
    assert "certificate" in error.answer
    assert inbox.letters == []


def test_it_refuses_a_certificate_for_another_name(serve: Serve, tls: tuple[ssl.SSLContext, str]) -> None:
    inbox = Inbox()
    port = serve(inbox, tls_context=tls[0], require_starttls=True)
    error = _failure(SmtpChannel(f"smtp://localhost:{port}", SENDER, tls[1]))
    assert error.permanent
    assert inbox.letters == []


@pytest.mark.parametrize(
    ("answers", "permanent"),
    [
        ({"rcpt": "550 no such person alice@example.invalid"}, True),
        ({"rcpt": "451 later"}, False),
        ({"data": "554 not here"}, True),
        ({"data": "452 full"}, False),
    ],
)
def test_it_tells_for_ever_from_later(
    serve: Serve, tls: tuple[ssl.SSLContext, str], answers: dict[str, str], permanent: bool
) -> None:
    port = serve(Inbox(**answers), tls_context=tls[0], require_starttls=True)
    error = _failure(SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1]))
    assert error.permanent is permanent and not error.unsure
    assert next(iter(answers.values()))[:3] in error.answer
    assert "alice" not in error.answer


def test_it_may_try_again_when_nobody_answers(tls: tuple[ssl.SSLContext, str]) -> None:
    error = _failure(SmtpChannel(f"smtp://127.0.0.1:{free_port()}", SENDER, tls[1]))
    assert not error.permanent
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        error = _failure(SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1], timeout=0.2))
    assert not error.permanent
    assert "in time" in error.answer


def test_a_connection_that_ends_when_the_mail_was_handed_over_may_have_taken_it(
    serve: Serve, tls: tuple[ssl.SSLContext, str]
) -> None:
    class Leaves(Inbox):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            server.transport.close()
            return "250 taken"

    port = serve(Leaves(), tls_context=tls[0], require_starttls=True)
    error = _failure(SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1]))
    assert error.unsure and not error.permanent and "may have left" in error.answer


def test_it_refuses_an_address_that_carries_a_header(tls: tuple[ssl.SSLContext, str]) -> None:
    error = _failure(SmtpChannel("smtp://127.0.0.1:9", SENDER, tls[1]), "a@b.example\r\nBcc: eve@b.example")
    assert error.permanent


@pytest.mark.parametrize(
    "url", ["http://u:hunter2@host", "smtp://u:hunter2@:25", "smtp://u:hunter2@host:no", "", "hunter2"]
)
def test_it_refuses_a_wrong_setting_without_repeating_it(url: str) -> None:
    with pytest.raises(RefusedStart) as caught:
        SmtpChannel(url, SENDER)
    assert "NIGHTBELL_SMTP" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_it_refuses_a_missing_authority_file(tmp_path: Path) -> None:
    with pytest.raises(RefusedStart, match="NIGHTBELL_SMTP_CA"):
        SmtpChannel("smtp://host", SENDER, str(tmp_path / "none.pem"))


class Counting(Inbox):
    """Counts connections, and can hang up after some letters, or refuse more over the same connection."""

    def __init__(self, most: int = 100, hangs_up: bool = False) -> None:
        super().__init__()
        self.most, self.hangs_up, self.sessions = most, hangs_up, list[Any]()

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if not any(one is session for one in self.sessions):
            self.sessions.append(session)
            session.letters = 0
        if session.letters == self.most and not self.hangs_up:
            return "421 too many letters"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = await super().handle_DATA(server, session, envelope)
        session.letters += 1
        return answer

    async def handle_RSET(self, server: Any, session: Any, envelope: Any) -> str:
        if self.hangs_up and getattr(session, "letters", 0) == self.most:
            server.transport.close()
        return "250 OK"


@pytest.mark.parametrize(
    ("inbox", "connections"),
    [(Counting(), 1), (Counting(most=2), 2), (Counting(most=2, hangs_up=True), 2)],
    ids=["one for all", "so many letters each", "hung up when idle"],
)
def test_letters_of_a_burst_share_a_connection_as_long_as_it_is_good(
    serve: Serve, tls: tuple[ssl.SSLContext, str], inbox: Counting, connections: int
) -> None:
    port = serve(inbox, tls_context=tls[0], require_starttls=True)
    channel = SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1])
    for _ in range(4):
        channel.send(WORDS, "alice@example.invalid", REFERENCE)
    assert len(inbox.letters) == 4
    assert len(inbox.sessions) == connections
    assert all(encrypted for *_, encrypted in inbox.letters)


def test_a_letter_is_never_told_twice_to_a_server_that_may_have_it(
    serve: Serve, tls: tuple[ssl.SSLContext, str]
) -> None:
    class Leaves(Counting):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            if session.letters == 1:
                self.letters.append(("", [], b"", True))
                server.transport.close()
                return "250 taken"
            return await super().handle_DATA(server, session, envelope)

    inbox = Leaves()
    port = serve(inbox, tls_context=tls[0], require_starttls=True)
    channel = SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1])
    channel.send(WORDS, "alice@example.invalid", REFERENCE)
    assert _failure(channel).unsure
    assert len(inbox.letters) == 2


def test_a_connection_that_nobody_needs_any_more_is_closed(
    serve: Serve, tls: tuple[ssl.SSLContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "KEPT_S", 0.05)
    inbox = Counting()
    port = serve(inbox, tls_context=tls[0], require_starttls=True)
    channel = SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER, tls[1])
    channel.send(WORDS, "alice@example.invalid", REFERENCE)
    [(client, _)] = channel._kept._idle
    wait_for("the end of it", lambda: client.sock is None and not channel._kept._closing, 10)
    channel.send(WORDS, "alice@example.invalid", REFERENCE)
    assert len(inbox.sessions) == 2
