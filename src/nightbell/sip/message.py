"""SIP messages: bytes in, values out, and back (RFC 3261 §7, §8.2; torture tests RFC 4475).

Header values stay text as received, so that a response echoes exactly what the other side sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from nightbell.core.errors import NightbellError
from nightbell.sip.grammar import TOKEN, Address, Uri, Via, parse_address, parse_uri, parse_via, split

MAX_BYTES = 65_536
MAX_HEADERS = 256
MAX_LINE = 8_192
ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK"
SUPPORTED = ("timer", "100rel")  # the extensions that a caller may require of us
_FULL_NAMES = {
    "i": "call-id",
    "m": "contact",
    "e": "content-encoding",
    "l": "content-length",
    "c": "content-type",
    "f": "from",
    "s": "subject",
    "k": "supported",
    "t": "to",
    "v": "via",
    "x": "session-expires",
}
_SINGLE = ("call-id", "cseq", "from", "to", "content-length", "content-type", "max-forwards")
_NEEDED = ("via", "from", "to", "call-id", "cseq")
_FOLD = re.compile(r"\r\n[ \t]+")
_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_VERSION = re.compile(r"SIP/[0-9]+\.[0-9]+\Z", re.IGNORECASE)

REASONS = {
    100: "Trying",
    180: "Ringing",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    603: "Decline",
}

Headers = dict[str, list[str]]


class BadMessage(NightbellError, ValueError):
    """These bytes are not a SIP message that we can treat. `reply`: the response to send, or None to stay silent."""

    def __init__(self, why: str, code: int = 400, reply: bytes | None = None) -> None:
        self.code, self.reply = code, reply
        super().__init__("SIP message", why)


class CSeq(NamedTuple):
    """Sequence number and method."""

    number: int
    method: str


@dataclass(frozen=True, slots=True)
class _Message:
    """What requests and responses share: five necessary headers read, the rest as text. Header names are in lower case."""

    headers: Headers
    body: bytes
    via: Via
    cseq: CSeq
    call_id: str
    sender: Address
    to: Address

    def get(self, name: str) -> str:
        return self.headers.get(name, [""])[0]

    def listed(self, name: str) -> list[str]:
        return listed(self.headers, name)

    @property
    def session(self) -> bytes:
        """The session description in the body, b'' if there is none that we can read."""
        return session_part(self.headers, self.body) or b""


@dataclass(frozen=True, slots=True)
class Request(_Message):
    """A request."""

    method: str
    uri: Uri


@dataclass(frozen=True, slots=True)
class Response(_Message):
    """A response, read as far as needed to match it."""

    code: int
    reason: str


def session_part(headers: Headers, body: bytes) -> bytes | None:
    """The session description of a body: b'' for none, all of it, or one part of a multipart (RFC 5621 §3).

    None when the body is something else or encoded: answer 415.
    """
    if not body:
        return b""
    if headers.get("content-encoding", [""])[0].lower() not in ("", "identity"):
        return None
    kind, *params = headers.get("content-type", [""])[0].split(";")
    kind = kind.strip().lower()
    if kind == "application/sdp" or (not kind and body.startswith(b"v=0")):
        return body
    boundary = next(
        (p.partition("=")[2].strip(' "') for p in params if p.strip().lower().startswith("boundary=")), ""
    )
    if not kind.startswith("multipart/") or not boundary:
        return None
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("utf-8", "surrogateescape"))[1:17]:
        head, _, content = part.partition(b"\r\n\r\n")
        if re.search(rb"\r\ncontent-type[ \t]*:[ \t]*application/sdp", head, re.IGNORECASE):
            return content
    return None


def listed(headers: Headers, name: str) -> list[str]:
    """All the values of a header that may be a list, in order. Raises ValueError."""
    return [part for line in headers.get(name, []) for part in split(line, ",") if part]


def parse(data: bytes) -> Request | Response:
    """Read one datagram or one framed message. Raises BadMessage, with a reply where one is due."""
    headers: Headers = {}
    first, body = "", b""
    try:
        first, headers, body = _sections(data)
        if first[:4].upper() == "SIP/":
            return _response(first, headers, body)
        return _request(first, headers, body)
    except BadMessage as bad:
        raise BadMessage(bad.why, bad.code, bad.reply or _reply(first, headers, bad.code)) from None
    except ValueError as error:
        # Texts of ValueError are our own sentences except where Python's codecs speak.
        why = "not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise BadMessage(why, 400, _reply(first, headers, 400)) from None


def _sections(data: bytes) -> tuple[str, Headers, bytes]:
    if len(data) > MAX_BYTES:
        raise BadMessage("too long", 513)
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    # Bytes outside UTF-8 may stand in values that we never look at: keep them for the echo.
    text = head.decode("utf-8", "surrogateescape")
    first, _, rest = text.partition("\r\n")
    lines = _FOLD.sub(" ", rest).split("\r\n") if rest else []
    headers: Headers = {}
    if len(lines) > MAX_HEADERS or max((len(line) for line in lines), default=0) > MAX_LINE:
        lines, too_large = lines[:MAX_HEADERS], True
    else:
        too_large = False
    malformed = not separator
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t").lower()
        if not colon or not TOKEN.match(name) or "\n" in line or "\r" in line:
            malformed = True
            continue
        headers.setdefault(_FULL_NAMES.get(name, name), []).append(value.strip())
    if too_large or malformed:
        code, why = (513, "its headers are too large") if too_large else (400, "a header line is malformed")
        raise BadMessage(why, code, _reply(first, headers, code))
    return first, headers, body


def _request(first: str, headers: Headers, body: bytes) -> Request:
    parts = first.split(" ")
    if len(parts) != 3 or not TOKEN.match(parts[0]) or not _VERSION.match(parts[2]):
        raise BadMessage("its first line is neither a request's nor a response's")
    if parts[2].upper() != "SIP/2.0":
        raise BadMessage("not SIP/2.0", 505)
    via, cseq, sender, to = _necessary(headers)
    if cseq.method != parts[0]:
        raise BadMessage("its CSeq names another method")
    forwards = headers.get("max-forwards", ["70"])[0]
    if not _NUMBER.match(forwards) or int(forwards) > 255:
        raise BadMessage("its Max-Forwards is out of range")
    uri = parse_uri(parts[1])
    body = body[: _content_length(headers, len(body))]
    return Request(headers, body, via, cseq, headers["call-id"][0], sender, to, parts[0], uri)


def _response(first: str, headers: Headers, body: bytes) -> Response:
    version, _, rest = first.partition(" ")
    code, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or not (len(code) == 3 and code.isascii() and code.isdigit()):
        raise BadMessage("its status line is malformed")
    if not 100 <= int(code) <= 699:
        raise BadMessage("its status code is out of range")
    via, cseq, sender, to = _necessary(headers)
    body = body[: _content_length(headers, len(body))]
    return Response(headers, body, via, cseq, headers["call-id"][0], sender, to, int(code), reason)


def _necessary(headers: Headers) -> tuple[Via, CSeq, Address, Address]:
    for name in _NEEDED:
        if not headers.get(name, [""])[0]:
            raise BadMessage(f"it has no {name.title()}")
    for name in _SINGLE:
        if len(headers.get(name, [])) > 1:
            raise BadMessage(f"it has more than one {name.title()}")
    via = parse_via(split(headers["via"][0], ",")[0])
    parts = headers["cseq"][0].split()
    if len(parts) != 2 or not _NUMBER.match(parts[0]) or int(parts[0]) >= 2**31:
        raise BadMessage("its CSeq is malformed")
    cseq = CSeq(int(parts[0]), parts[1])
    # An odd Contact counts too: BYE would go there.
    for value in listed(headers, "contact"):
        if value != "*":
            parse_address(value)
    return via, cseq, parse_address(headers["from"][0]), parse_address(headers["to"][0])


def _content_length(headers: Headers, present: int) -> int:
    value = headers.get("content-length", [""])[0]
    if not value:
        return present
    if not _NUMBER.match(value):
        raise BadMessage("its Content-Length is not a number")
    if int(value) > present:
        raise BadMessage("its body is shorter than its Content-Length")
    return int(value)


def _reply(first: str, headers: Headers, code: int) -> bytes | None:
    """A best-effort refusal: only to what looks like a request other than ACK and says where it came from."""
    parts = first.split(" ")
    if len(parts) < 3 or parts[0] == "ACK" or first[:4].upper() == "SIP/" or not headers.get("via"):
        return None
    return build_response(code, headers, to_tag="")


def _encode(first: str, lines: list[tuple[str, str]], body: bytes) -> bytes:
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    head = f"{first}\r\n{text}Content-Length: {len(body)}\r\n\r\n"
    return head.encode("utf-8", "surrogateescape") + body


def build_response(
    code: int,
    headers: Headers,
    to_tag: str,
    extra: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    reason: str = "",
) -> bytes:
    """A response to the request with these headers (§8.2.6): Via, From, To, Call-ID and CSeq are echoed.

    to_tag: added unless To has one; '' leaves To alone. extra: further header lines.
    """
    lines = [("Via", value) for value in headers.get("via", [])]
    for name, label in (("from", "From"), ("to", "To"), ("call-id", "Call-ID"), ("cseq", "CSeq")):
        value = headers.get(name, [""])[0]
        if name == "to" and to_tag and not _has_tag(value):
            value += f";tag={to_tag}"
        if value:
            lines.append((label, value))
    if body:
        lines.append(("Content-Type", "application/sdp"))
    phrase = reason or REASONS.get(code, "Refused")
    return _encode(f"SIP/2.0 {code} {phrase}", [*lines, *extra], body)


def _has_tag(to: str) -> bool:
    try:
        return bool(parse_address(to).tag)
    except ValueError:
        return True


def build_request(
    method: str,
    uri: str,
    lines: list[tuple[str, str]],
    body: bytes = b"",
    content_type: str = "application/sdp",
) -> bytes:
    """A request from its header lines; Content-Type where there is a body, Content-Length always."""
    if body:
        lines = [*lines, ("Content-Type", content_type)]
    return _encode(f"{method} {uri} SIP/2.0", lines, body)


def mark_via(headers: Headers, address: str, port: int) -> Headers:
    """Note in the top Via where the request really came from (§18.2.1, RFC 3581). Returns new headers."""
    top, *rest = split(headers["via"][0], ",")
    via = parse_via(top)
    host = address if ":" not in address else f"[{address}]"
    text = top
    if via.param("rport") is not None:
        text = re.sub(
            r";\s*rport\s*(=\s*[0-9]*)?(?=\s*(;|\Z))", f";rport={port}", text, count=1, flags=re.IGNORECASE
        )
    if (via.host != host or text is not top) and via.param("received") is None:
        text += f";received={address}"
    return {**headers, "via": [", ".join([text, *rest]), *headers["via"][1:]]}
