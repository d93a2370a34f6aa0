"""Which number is dialled, and which is shown. Pure. A call costs money and may reach anybody: what is no plain number is not
dialled."""

from __future__ import annotations

import re

_E164 = re.compile(r"\+[1-9][0-9]{7,14}\Z")
_NORTH_AMERICA = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}\Z")
_SHOWN = re.compile(r"[A-Za-z0-9+._-]{1,40}\Z")
# By country code: numbers for which the caller is charged beyond a call, so that whoever is called there, or has it forwarded,
# is paid (premium rate, shared cost, personal numbers). As the countries' numbering plans have them in 2026: NANPA, Ofcom,
# ComReg, BNetzA, RTR, BAKOM, ARCEP, BIPT, ACM, ILR, CNMC, ANACOM, AGCOM, PTS, Nkom, the Danish and Finnish agencies, UKE,
# CTU, ACMA, NAD, IFT and Anatel; compared with the data of libphonenumber 9.0.
_CHARGED = {
    "1": "900|976|[2-9][0-9]{2}976",
    "31": "90[069]",
    "32": "90|70",
    "33": "8[1-9]",
    "34": "80[367]|90[1257]|70",
    "351": "6(?:0[178]|4[68])|76[0-2]|70[78]",
    "352": r"90[015][0-9]{5}\Z",
    "353": r"15[0-9]{8}\Z|18[59]0|700",  # a number in Dublin is shorter
    "358": "[67]00",
    "39": "89|84|1(?:44|6[346]|78|99)",
    "41": "90[016]|84|878",
    "420": "90|976",
    "43": "810|82[018]|9[03]",
    "44": "9|8[47]|70",
    "45": "90",
    "46": "649|900|939|944|99",
    "47": "82[09]|810",
    "48": "70",
    "49": "900|13[78]|18|700",
    "52": "900",
    "55": "[359]00",
    "61": "190",
    "64": "900",
}
_DEAR = re.compile(r"\+(?:" + "|".join(f"{code}(?:{those})" for code, those in _CHARGED.items()) + ")")
_SATELLITE = re.compile(r"\+(?:870|878|88[123]|979)")  # dear networks of no country
# Area codes that look like those of the United States and Canada, and are islands with prices of their own (NANPA).
_ISLANDS = re.compile(
    r"\+1(?:242|246|264|268|284|345|441|473|649|658|664|721|758|767|784|809|829|849|868|869|876)"
)
# Country codes as ITU-T E.164 assigns them: those of one digit and of two; the others have three.
_COUNTRY = re.compile(r"\+(1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[0-9]{3})")
HOME = "1"  # the country code of a practice whose own number does not tell


def e164(number: str) -> str:
    """'+16175550142' for '(617) 555-0142', '' for what is none: too short or long, a service with three digits, a number
    that charges whoever rings it (of the countries above)."""
    plain = _plain(number)
    return "" if _DEAR.match(plain) else plain


def _plain(number: str) -> str:
    plain = re.sub(r"[\s().-]", "", number)
    if not plain.startswith("+"):
        digits = plain[1:] if len(plain) == 11 and plain.startswith("1") else plain
        plain = f"+1{digits}" if _NORTH_AMERICA.match(digits) else ""
    if not _E164.match(plain):
        return ""
    if plain.startswith("+1") and not _NORTH_AMERICA.match(plain[2:]):
        return ""
    return plain


def spaced(number: str) -> str:
    """For eyes: '+15035550134' as '(503) 555-0134'; a foreign or short number as it came; '' stays ''."""
    digits = "".join(c for c in number if c.isdigit())
    if len(digits) == 11 and digits[0] == "1" and number.lstrip("+").isdigit():
        digits = digits[1:]
    elif number.startswith("+") or len(digits) != 10:
        return number
    return f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"


def allowed(number: str, own: str) -> bool:
    """Whether a number (E.164) may be dialled for a practice with this number of its own: within its country alone.

    Who gets us to ring far away is paid for it. Islands with a +1 only where the practice is there itself.
    """
    if not number or _SATELLITE.match(number) or _DEAR.match(number):
        return False
    home = _plain(own)
    if _country(number) != (_country(home) or HOME):
        return False
    return not _ISLANDS.match(number) or number[:5] == home[:5]


def _country(number: str) -> str:
    """Its country code; '' of none."""
    found = _COUNTRY.match(number)
    return found[1] if found else ""


def shown(number: str) -> str:
    """The practice's number as the other telephone shows it; 'nightbell' for a practice without one."""
    plain = e164(number) or re.sub(r"[\s()-]", "", number)
    return plain if _SHOWN.match(plain) else "nightbell"
