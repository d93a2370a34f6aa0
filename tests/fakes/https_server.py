"""An HTTPS server of a test on loopback, behind a certificate of its own authority."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nightbell.core.clock import utc_now
from nightbell.server import tls


class Quiet(BaseHTTPRequestHandler):
    """Logs nothing; reads and writes whole bodies."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(folder: Path, handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[str, str]]:
    """Gives (address, file of the authority)."""
    certificates, keys = folder / "tls", folder / "keys"
    certificates.mkdir()
    keys.mkdir()
    tls.make(certificates, keys, ["localhost", "127.0.0.1"], utc_now())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", keys / "server.key")
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True  # one that was told to hang must not hold up the end
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}", str(certificates / "ca.pem")
    finally:
        server.shutdown()
        thread.join()
        server.socket.close()
