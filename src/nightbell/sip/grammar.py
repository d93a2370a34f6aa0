"""The pieces of which SIP headers are made (RFC 3261 §25.1): URIs, addresses, Via, lists, parameters.

Read leniently where real devices are (underscores in host names), strictly where guessing is dangerous
(quotes, brackets, white space). Every pattern runs in linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z")
_DISPLAY = re.compile(r"[A-Za-z0-9\-.!%*_+`'~ ]*\Z")
_URI = re.compile(
    r"(?P<scheme>sips?):(?:(?P<user>[^@:<>\s\"]*)(?::[^@<>\s\"]*)?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<params>(?:;[^;?@<>\s\"]+)*)(?P<headers>\?[^<>\s\"]*)?\Z",
    re.IGNORECASE,
)
_TEL = re.compile(r"tel:(?P<user>[0-9A-Fa-f+*#().-]+)(?P<params>(?:;[^;?@<>\s\"]+)*)\Z", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"]+\Z")
_VIA = re.compile(
    r"SIP ?/ ?2\.0 ?/ ?(?P<transport>[A-Za-z0-9\-.!%*_+`'~]+) (?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})"
    r"(?: ?: ?(?P<port>[0-9]{1,5}))? ?(?P<params>;.*)?\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Uri:
    """A sip, sips or tel URI, or (scheme only) one that we cannot use. user is unescaped, without password."""

    text: str
    scheme: str
    user: str = ""
    host: str = ""
    port: int | None = None
    params: tuple[tuple[str, str], ...] = ()

    @property
    def known(self) -> bool:
        return self.scheme in ("sip", "sips", "tel")

    def param(self, name: str) -> str | None:
        return next((value for key, value in self.params if key == name), None)


@dataclass(frozen=True, slots=True)
class Address:
    """A From, To, Contact or Route value. display is unquoted."""

    uri: Uri
    display: str = ""
    params: tuple[tuple[str, str], ...] = ()

    @property
    def tag(self) -> str:
        return next((value for key, value in self.params if key == "tag"), "")


@dataclass(frozen=True, slots=True)
class Via:
    """One hop. text is as received; branch '' if missing."""

    text: str
    transport: str
    host: str
    port: int | None
    params: tuple[tuple[str, str], ...]

    def param(self, name: str) -> str | None:
        return next((value for key, value in self.params if key == name), None)

    @property
    def branch(self) -> str:
        return self.param("branch") or ""


def split(text: str, separator: str) -> list[str]:
    """Cut at `separator` outside quotes and angle brackets, and strip. Raises ValueError when a quote stays open."""
    if '"' not in text:  # nearly always: no walk through the characters
        if "<" not in text:
            return [part.strip() for part in text.split(separator)]
        if separator not in text and text.count("<") == text.count(">"):
            return [text.strip()]
    parts, start, quoted, escaped, bracket = [], 0, False, False, False
    for at, char in enumerate(text):
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            quoted = True
        elif char in "<>":
            bracket = char == "<"
        elif char == separator and not bracket:
            parts.append(text[start:at].strip())
            start = at + 1
    if quoted or bracket:
        raise ValueError("a quote or bracket is not closed")
    return [*parts, text[start:].strip()]


def parse_params(text: str) -> tuple[tuple[str, str], ...]:
    """`;name=value;flag` as pairs, names in lower case. Raises ValueError."""
    if not text.strip():
        return ()
    first, *rest = split(text, ";")
    if first:
        raise ValueError("parameters do not begin with a semicolon")
    pairs = []
    for part in rest:
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if not TOKEN.match(name):
            raise ValueError("a parameter has no name")
        pairs.append((name, value.strip()))
    return tuple(pairs)


def parse_uri(text: str, with_headers: bool = False) -> Uri:
    """Read a URI. A scheme that we do not know is kept as such. Raises ValueError.

    with_headers: whether `?name=value` may follow; it is allowed in a Contact, not in a Request-URI (§19.1.1).
    """
    match = _URI.match(text)
    if match is None and text[:4].lower() == "tel:":
        match = _TEL.match(text)
    if match is None:
        scheme = text.partition(":")[0].lower()
        if _SCHEME.match(text) and scheme not in ("sip", "sips", "tel"):
            return Uri(text, scheme)
        raise ValueError("a URI is not valid")
    parts = match.groupdict()
    if parts.get("headers"):
        if not with_headers:
            raise ValueError("a URI has headers where none are allowed")
        text = text[: match.start("headers")]
    port = int(parts["port"]) if parts.get("port") else None
    if port is not None and not 0 < port < 65536:
        raise ValueError("the port of a URI is out of range")
    pairs = (item.partition("=") for item in (parts["params"] or "").split(";")[1:])
    return Uri(
        text,
        text.partition(":")[0].lower(),
        unquote(parts["user"] or ""),
        (parts.get("host") or "").lower(),
        port,
        tuple((unquote(name).lower(), unquote(value)) for name, _, value in pairs),
    )


def parse_address(text: str) -> Address:
    """Read `"Display" <uri>;params`, `display <uri>;params` or `uri;params`. Raises ValueError."""
    text = " ".join(text.split())
    if text.startswith('"'):
        display, rest = _quoted(text)
    else:
        plain, bracket, tail = text.partition("<")
        if not bracket:
            spec, semicolon, params = text.partition(";")
            if "," in spec or "?" in spec:
                raise ValueError("such a URI needs angle brackets")
            return Address(parse_uri(spec.strip()), "", parse_params(semicolon + params))
        display, rest = plain.strip(), bracket + tail
        if not _DISPLAY.match(display):
            raise ValueError("a display name with such characters needs quotes")
    spec, closed, params = rest.strip()[1:].partition(">")
    if not rest.strip().startswith("<") or not closed:
        raise ValueError("an address has no angle brackets where it needs them")
    return Address(parse_uri(spec, with_headers=True), display, parse_params(params))


def _quoted(text: str) -> tuple[str, str]:
    out, at = [], 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        out.append(text[at : at + 1])
        at += 1
    if at >= len(text):
        raise ValueError("a quote is not closed")
    return "".join(out), text[at + 1 :]


def parse_via(text: str) -> Via:
    """Read one Via value. Raises ValueError."""
    match = _VIA.match(" ".join(text.split()))
    if match is None:
        raise ValueError("a Via is not valid")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError("the port of a Via is out of range")
    return Via(
        text, match["transport"].upper(), match["host"].lower(), port, parse_params(match["params"] or "")
    )


def printable(text: str, limit: int = 64) -> str:
    """A remote user part made harmless: printable characters only, at most `limit` of them."""
    return "".join(char for char in text if char.isprintable())[:limit]
