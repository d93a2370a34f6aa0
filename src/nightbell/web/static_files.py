"""Our own files of style, script and picture, held in memory and served by this process.

Only what the finders list is served: a path is a key of a table, so nothing outside can be reached.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseNotModified

_PACKED = (".css", ".js", ".svg", ".txt")
_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and (where it helps) gzipped. `mark`: the first 12 hex digits of its SHA-256."""

    plain: bytes
    packed: bytes | None
    content_type: str
    mark: str


@lru_cache(maxsize=1)
def names() -> dict[str, Path]:
    """Every servable file by its name below /static/. Built once a process."""
    found: dict[str, Path] = {}
    for finder in finders.get_finders():
        for name, storage in finder.list(["CVS", ".*", "*~", "*.map"]):
            found.setdefault(name.replace("\\", "/"), Path(storage.path(name)))
    return found


@lru_cache(maxsize=400)
def asset(name: str) -> Asset | None:
    """The file of that name, or None."""
    path = names().get(name)
    if path is None:
        return None
    plain = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = gzip.compress(plain, 9, mtime=0) if path.suffix in _PACKED else None
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return Asset(plain, packed, kind, hashlib.sha256(plain).hexdigest()[:12])


def address(name: str) -> str:
    """The address of a file with its mark, so that a browser may keep it for ever. Raises KeyError."""
    found = asset(name)
    if found is None:
        raise KeyError(name)
    return f"/static/{name}?v={found.mark}"


def serve(request: HttpRequest, name: str) -> HttpResponse:
    """Answer a GET or HEAD for /static/<name>."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    found = asset(name)
    if found is None:
        return HttpResponse("No such file.\n", status=404, content_type="text/plain; charset=utf-8")
    etag = f'"{found.mark}"'
    if request.headers.get("If-None-Match") == etag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        squeeze = found.packed is not None and "gzip" in request.headers.get("Accept-Encoding", "")
        body = found.packed if squeeze and found.packed is not None else found.plain
        response = HttpResponse(body, content_type=found.content_type)
        response["Content-Length"] = str(len(body))
        if squeeze:
            response["Content-Encoding"] = "gzip"
    response["ETag"] = etag
    response["Vary"] = "Accept-Encoding"
    # A font's name never changes its meaning; other files keep for ever only under their mark.
    known = request.GET.get("v") == found.mark or name.startswith("fonts/")
    response["Cache-Control"] = _FOR_EVER if known else "public, no-cache"
    return response
