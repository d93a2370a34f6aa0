"""A fake of what two providers answer, over HTTPS on loopback: calls, recordings, their files and their deletion.

Written to their published contracts: www.twilio.com/docs/voice/api, developers.telnyx.com.
"""

from __future__ import annotations

import base64
import itertools
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from nightbell.core.clock import utc_now
from nightbell.server import tls

ACCOUNT, TOKEN = "AC" + "0a" * 16, "fake-auth-token"
API_KEY = "KEY-fake"
REMEMBERS = timedelta(minutes=10)  # so long Telnyx knows a call that is over
counter = itertools.count(1)


def twilio_id(kind: str) -> str:
    return f"{kind}{next(counter):032x}"


@dataclass
class FakeRecording:
    """One recording that the provider holds. data: its file as it is downloaded."""

    id: str
    call: str
    data: bytes
    status: str = "completed"
    began: datetime = field(default_factory=utc_now)
    encryption: dict[str, str] | None = None


@dataclass
class FakeApi:
    """What the provider knows. ended: when calls were over, by its clock; answers: in place of the usual, per kind of request ('json', 'file', 'delete'), each
    used once: a status, or a function that writes its own answer."""

    calls: dict[str, dict[str, str]] = field(default_factory=dict)
    recordings: dict[str, FakeRecording] = field(default_factory=dict)
    ended: dict[str, datetime] = field(default_factory=dict)
    clock: Callable[[], datetime] = utc_now
    forgotten: int = 404  # what it answers for a call that it does not know (any more)
    answers: dict[str, list[int | Callable[[BaseHTTPRequestHandler], None]]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sign_of_links: str = "fresh-1"
    base: str = ""
    ca: str = ""

    def hold(self, recording: FakeRecording) -> None:
        self.recordings[recording.id] = recording


@contextmanager
def running(folder: Path, api: FakeApi) -> Iterator[FakeApi]:
    """The fake behind a certificate of its own authority."""
    certificates, keys = folder / "tls", folder / "keys"
    certificates.mkdir()
    keys.mkdir()
    tls.make(certificates, keys, ["localhost", "127.0.0.1"], utc_now())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", keys / "server.key")
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api.base, api.ca = f"https://localhost:{server.server_address[1]}", str(certificates / "ca.pem")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[FakeApi]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.api.asked.append(f"GET {path}")
        kind = "file" if path.endswith(".wav") else "json"
        if self._instead(kind):
            return
        if path.startswith("/media/"):  # a link that carries its own right for ten minutes
            fresh = query.get("sig") == [self.api.sign_of_links]
            self._file(path.split("/")[2].removesuffix(".wav") if fresh else "")
        elif not self._known():
            self.answer(401, {"message": "authenticate"})
        elif path.startswith("/2010-04-01/"):
            self._twilio(path, query)
        else:
            self._telnyx(path, query)

    def do_DELETE(self) -> None:
        name = urlsplit(self.path).path.rsplit("/", 1)[1].removesuffix(".json")
        if self._instead("delete"):
            return
        if not self._known():
            self.answer(401, {})
        elif self.api.recordings.pop(name, None) is None:
            self.answer(404, {})
        else:
            self.api.deleted.append(name)
            self.answer(204)

    def _instead(self, kind: str) -> bool:
        waiting = self.api.answers.get(kind)
        if not waiting:
            return False
        answer = waiting.pop(0)
        if callable(answer):
            answer(self)
        else:
            self.answer(answer, {"message": "as told"})
        return True

    def _known(self) -> bool:
        basic = "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        return self.headers.get("Authorization") in (basic, f"Bearer {API_KEY}")

    def _twilio(self, path: str, query: dict[str, list[str]]) -> None:
        home = f"/2010-04-01/Accounts/{ACCOUNT}/"
        what = path.removeprefix(home).removesuffix(".json").split("/")
        if not path.startswith(home):
            self.answer(404, {})
        elif what == ["Recordings"]:  # since a day
            assert len(query["DateCreated>"][0]) == 10
            self.answer(200, {"recordings": [self._resource(one) for one in self.api.recordings.values()]})
        elif what[0] == "Calls" and len(what) == 3:
            held = [one for one in self.api.recordings.values() if one.call == what[1]]
            self.answer(200, {"recordings": [self._resource(one) for one in held]})
        elif what[0] == "Calls" and what[1] in self.api.calls:
            self.answer(200, self.api.calls[what[1]])
        elif what[0] == "Recordings" and path.endswith(".wav"):
            name = what[1].removesuffix(".wav")
            encrypted = name in self.api.recordings and self.api.recordings[name].encryption
            self._file(name if encrypted or query.get("RequestedChannels") == ["1"] else "")
        elif what[0] == "Recordings" and what[1] in self.api.recordings:
            self.answer(200, self._resource(self.api.recordings[what[1]]))
        else:
            self.answer(404, {"code": 20404})

    def _resource(self, one: FakeRecording) -> dict[str, Any]:
        return {
            "sid": one.id, "call_sid": one.call, "status": one.status, "channels": 1, "source": "RecordVerb",
            "start_time": format_datetime(one.began), "encryption_details": one.encryption,
        }  # fmt: skip

    def _telnyx(self, path: str, query: dict[str, list[str]]) -> None:
        what = path.removeprefix("/v2/").split("/")
        if what[0] == "calls":
            name = what[1].replace("%3A", ":")
            over = self.api.ended.get(name)
            if name not in self.api.calls or (over and self.api.clock() - over > REMEMBERS):
                self.answer(self.api.forgotten, {"errors": [{"code": "90001"}]})
            else:
                self.answer(200, {"data": {"is_alive": over is None}})
        elif what[0] == "recordings" and len(what) == 1:
            call = query.get("filter[call_control_id]", [""])[0]
            assert call or query["filter[created_at][gte]"][0].endswith("Z")
            held = [one for one in self.api.recordings.values() if one.call == (call or one.call)]
            self.answer(200, {"data": [self._row(one) for one in held]})
        elif what[1] in self.api.recordings:
            self.answer(200, {"data": self._row(self.api.recordings[what[1]])})
        else:
            self.answer(404, {"errors": []})

    def _row(self, one: FakeRecording) -> dict[str, Any]:
        call = self.api.calls.get(one.call, {})
        link = f"{self.api.base}/media/{one.id}.wav?sig={self.api.sign_of_links}"
        return {
            "id": one.id, "call_control_id": one.call, "status": one.status, "download_urls": {"wav": link},
            "initiated_by": "RecordVerb", "recording_started_at": one.began.isoformat(), "from": call.get("from", ""), "to": call.get("to", ""),
        }  # fmt: skip

    def _file(self, name: str) -> None:
        held = self.api.recordings.get(name)
        if held is None or held.status != "completed":
            self.answer(404, {})
            return
        self.send_response(200)
        self.send_header("Content-Type", "audio/x-wav")
        self.send_header("Content-Length", str(len(held.data)))
        self.end_headers()
        self.wfile.write(held.data)

    def answer(self, status: int, body: dict[str, Any] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
