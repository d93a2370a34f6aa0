"""Key services behind the keyring: AWS KMS as moto gives it, Transit as a fake written to the published contract."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from moto import mock_aws

from nightbell.adapters.aws_kms import AwsKmsProvider
from nightbell.adapters.transit import TransitProvider
from nightbell.core.clock import utc_now
from nightbell.core.errors import RefusedStart
from nightbell.sealing.errors import KeyUnavailable, SealError, Tampered, UnknownFormat
from nightbell.sealing.keyring import Keyring
from nightbell.sealing.provider import KeyProvider
from nightbell.server import tls

TOKEN = "s.fake-token"


class FakeTransit(BaseHTTPRequestHandler):
    """A fake of Vault's Transit: AES-256-GCM with associated data, 403 without the token, 400 for what does not verify."""

    key = AESGCM(b"k" * 32)
    sealed = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if type(self).sealed:
            return self._answer(503, {"errors": ["Vault is sealed"]})
        if self.headers["X-Vault-Token"] != TOKEN:
            return self._answer(403, {"errors": ["permission denied"]})
        context = base64.b64decode(body["associated_data"])
        if self.path == "/v1/transit/encrypt/nightbell":
            sealed = self.key.encrypt(b"n" * 12, base64.b64decode(body["plaintext"]), context)
            return self._answer(
                200, {"data": {"ciphertext": "vault:v1:" + base64.b64encode(sealed).decode()}}
            )
        try:
            plain = self.key.decrypt(
                b"n" * 12, base64.b64decode(body["ciphertext"].removeprefix("vault:v1:")), context
            )
        except (InvalidTag, ValueError):
            return self._answer(400, {"errors": ["cipher: message authentication failed"]})
        return self._answer(200, {"data": {"plaintext": base64.b64encode(plain).decode()}})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def transit(tmp_path: Path) -> Iterator[TransitProvider]:
    tls.make(tmp_path, tmp_path, ["localhost"], utc_now())
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeTransit)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    FakeTransit.sealed = False
    yield TransitProvider(
        f"https://localhost:{server.server_port}/transit/nightbell", lambda: TOKEN, tmp_path / "ca.pem"
    )
    server.shutdown()
    server.server_close()


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsKmsProvider]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        key = boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["KeyId"]
        yield AwsKmsProvider(key, "us-east-1")


@pytest.fixture(params=["kms", "transit"])
def service(request: pytest.FixtureRequest) -> KeyProvider:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def test_it_unwraps_what_it_wrapped_under_the_same_context_alone(service: KeyProvider) -> None:
    wrapped = service.wrap(b"secret", b"period 1")
    assert b"secret" not in wrapped
    assert service.unwrap(wrapped, b"period 1") == b"secret"
    with pytest.raises(Tampered):
        service.unwrap(wrapped, b"period 2")
    with pytest.raises(SealError):
        service.unwrap(wrapped[:-3] + b"AAA", b"period 1")
    with pytest.raises(UnknownFormat):
        service.unwrap(b"\x01" + wrapped[1:], b"period 1")


def test_a_keyring_lives_behind_it_through_a_compaction(service: KeyProvider, tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "ring.sqlite3", tmp_path / "periods", service)
    ring.put("a", "message", b"x" * 32)
    ring.compact("2026-11-24T00:00:00.000Z")
    assert ring.get("a", "message") == b"x" * 32
    ring.close()


def test_a_sealed_transit_is_away_not_broken(transit: TransitProvider) -> None:
    wrapped = transit.wrap(b"secret", b"c")
    FakeTransit.sealed = True
    with pytest.raises(KeyUnavailable, match="503"):
        transit.unwrap(wrapped, b"c")
    FakeTransit.sealed = False
    assert transit.unwrap(wrapped, b"c") == b"secret"


def test_transit_without_tls_or_key_is_refused() -> None:
    for url in ("http://localhost:8200/transit/k", "https://localhost:8200/transit", "nonsense"):
        with pytest.raises(RefusedStart):
            TransitProvider(url, lambda: TOKEN)


def test_an_unknown_kms_key_is_away_not_broken(kms: AwsKmsProvider) -> None:
    stranger = AwsKmsProvider("00000000-0000-0000-0000-000000000000", "us-east-1")
    with pytest.raises(KeyUnavailable, match="NotFoundException"):
        stranger.wrap(b"x", b"c")
