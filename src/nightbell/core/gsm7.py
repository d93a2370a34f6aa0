"""The alphabet of text messages (3GPP TS 23.038): how many septets a text takes, if it can be written in it at all. Pure."""

from __future__ import annotations

SEGMENT = 160  # septets of a message of one part
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€\f")  # two septets each


def septets(text: str) -> int | None:
    """None: a character is not in it, so the message would go out as UCS-2, 70 characters a part."""
    if not set(text) <= _BASIC | _EXTENDED:
        return None
    return sum(2 if one in _EXTENDED else 1 for one in text)
