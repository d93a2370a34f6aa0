"""The form of a trunk: which fields its kind has, what was typed, and what is wrong with it at its field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nightbell.line.presets import Preset
from nightbell.line.trunk_rules import Given
from nightbell.line.trunks import TrunkView
from nightbell.sip.trunk import DIALLED, BadTrunk

MOST = 20_000  # characters of one field; the rules say more

# BadTrunk names parts of a trunk; these are the fields of the form.
_FIELD_OF = {"certificate name": "peer_name", "keep-alive": "keep_alive"}
_KINDS = {
    "register": ("name", "domain", "user", "password", "transport"),
    "address": ("name", "sources", "domain", "transport"),
    "certificate": ("name", "peer_name", "domain", "transport"),
}
# Below "More": most people never need them.
_FINE = {
    "register": ("proxy", "sources", "keep_alive", "dialled", "expires"),
    "address": ("proxy", "keep_alive", "dialled"),
    "certificate": ("proxy", "sources", "keep_alive", "dialled"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field to draw. kind: 'text', 'password', 'area' or 'select'; options: (value, word)."""

    name: str
    label: str
    help: str
    value: str = ""
    error: str = ""
    kind: str = "text"
    options: tuple[tuple[str, str], ...] = ()


_TRANSPORTS = (
    ("tls", "TLS: encrypted"),
    ("tcp", "TCP: unencrypted, its risk must be accepted"),
    ("udp", "UDP: unencrypted, its risk must be accepted"),
)
_WORDS: dict[str, tuple[str, str]] = {
    "name": ("Name", "What you call it here. 1 to 60 characters."),
    "domain": ("Domain or server", "As the carrier writes it, without sip: before it, such as sip.carrier.example."),
    "user": ("User", "Of the SIP account, not of the carrier's website."),
    "password": ("Password", "Of the SIP account. It is sealed at once and shown nowhere."),
    "sources": (
        "Addresses that calls come from",
        "With commas or on lines of their own: 203.0.113.7 or 203.0.113.0/24. Calls from elsewhere are not answered.",
    ),
    "peer_name": ("Name in the certificate", "The DNS name in the client certificate that the carrier shows."),
    "transport": ("Transport", "What calls travel by."),
    "proxy": ("Another server", "Only if the carrier names an outbound proxy: host or host:port."),
    "expires": ("Seconds of a registration", "60 to 86400. The carrier may shorten it."),
    "keep_alive": (
        "Seconds between questions",
        "How often we ask whether the carrier is there: 10 to 3600, or 0 for never.",
    ),
    "dialled": (
        "Where the number is that was called",
        "In which order we look: history, diversion, called, to, request. The first that is one of ours counts.",
    ),
}  # fmt: skip
_SOURCES_OPTIONAL = {
    "register": "May stay empty. Only if calls come from elsewhere than from the server: 203.0.113.7 or 203.0.113.0/24.",
    "certificate": "May stay empty. With them the certificate alone is not enough: 203.0.113.7 or 203.0.113.0/24.",
}
_DOMAIN_OPTIONAL = "May stay empty. With it we ask now and then whether the carrier is there."


def values_of_preset(chosen: Preset, kind: str) -> dict[str, str]:
    """What an empty form begins with."""
    return {
        "name": "" if chosen.id == "other" else chosen.name, "domain": chosen.domain, "proxy": chosen.proxy,
        "transport": chosen.transport, "sources": "\n".join(chosen.sources) if kind == "address" else "",
        "expires": "600", "keep_alive": "30", "dialled": ", ".join(DIALLED),
    }  # fmt: skip


def values_of_trunk(one: TrunkView) -> dict[str, str]:
    return {
        "name": one.name, "domain": one.domain, "proxy": one.proxy, "transport": one.transport, "user": one.user,
        "sources": "\n".join(one.sources), "peer_name": one.peer_name, "expires": str(one.expires),
        "keep_alive": str(one.keep_alive), "dialled": ", ".join(one.dialled),
    }  # fmt: skip


def given(typed: Mapping[str, str], kind: str, preset: str, before: Mapping[str, str] | None = None) -> Given:
    """What was typed. before: values_of_trunk; what was not asked stays like that. Raises BadTrunk for a number that is
    none."""

    def text(name: str) -> str:
        return typed.get(name, (before or {}).get(name, ""))[:MOST].strip()

    dialled = tuple(one for one in text("dialled").lower().replace(",", " ").split() if one)
    return Given(
        name=text("name"), kind=kind, domain=text("domain"), proxy=text("proxy"),
        transport=text("transport") or "tls", user=text("user"), password=typed.get("password", "")[:MOST],
        sources=text("sources"), peer_name=text("peer_name"),
        expires=_seconds(text("expires") or "600", "expires"),
        keep_alive=_seconds(text("keep_alive") or "30", "keep-alive"), dialled=dialled or tuple(DIALLED), preset=preset,
    )  # fmt: skip


def _seconds(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise BadTrunk(field, f"{text[:12]!r} is no number of seconds", "write digits alone")
    return int(text)


def fields(
    kind: str, values: Mapping[str, str], trouble: BadTrunk | None = None, keeps_password: bool = False
) -> tuple[list[Field], list[Field]]:
    """The fields of a kind, first those that everybody fills in. keeps_password: an empty one keeps what is there."""
    wrong = _FIELD_OF.get(trouble.field, trouble.field) if trouble else ""
    kind = kind if kind in _KINDS else "address"

    def made(name: str) -> Field:
        label, words = _WORDS[name]
        if name == "password" and keeps_password:
            words = "Leave it empty to keep the one that is there. It is shown nowhere."
        if name == "domain" and kind != "register":
            words = _DOMAIN_OPTIONAL
        if name == "sources" and kind != "address":
            words = _SOURCES_OPTIONAL[kind]
        error = (
            f"{_sentence(trouble.why)} {_sentence(trouble.mend)}".strip() if trouble and wrong == name else ""
        )
        shape = {"password": "password", "sources": "area", "transport": "select"}.get(name, "text")
        value = "" if name == "password" else values.get(name, "")
        return Field(name, label, words, value, error, shape, _TRANSPORTS if name == "transport" else ())

    return [made(name) for name in _KINDS[kind]], [made(name) for name in _FINE[kind]]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
