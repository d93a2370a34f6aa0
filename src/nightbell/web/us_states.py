"""Names of the states whose holidays a practice may keep, by their postal code."""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = """
AL Alabama|AK Alaska|AZ Arizona|AR Arkansas|CA California|CO Colorado|CT Connecticut|DE Delaware|
DC District of Columbia|FL Florida|GA Georgia|HI Hawaii|ID Idaho|IL Illinois|IN Indiana|IA Iowa|KS Kansas|
KY Kentucky|LA Louisiana|ME Maine|MD Maryland|MA Massachusetts|MI Michigan|MN Minnesota|MS Mississippi|
MO Missouri|MT Montana|NE Nebraska|NV Nevada|NH New Hampshire|NJ New Jersey|NM New Mexico|NY New York|
NC North Carolina|ND North Dakota|OH Ohio|OK Oklahoma|OR Oregon|PA Pennsylvania|RI Rhode Island|
SC South Carolina|SD South Dakota|TN Tennessee|TX Texas|UT Utah|VT Vermont|VA Virginia|WA Washington|
WV West Virginia|WI Wisconsin|WY Wyoming|AS American Samoa|GU Guam|MP Northern Mariana Islands|PR Puerto Rico|
UM Minor Outlying Islands|VI Virgin Islands
"""
NAMES = {code: name for code, _, name in (one.strip().partition(" ") for one in _NAMES.split("|"))}


def named(codes: Iterable[str]) -> list[tuple[str, str]]:
    """(code, name) by name; a code that is not known here is its own name."""
    return sorted(((code, NAMES.get(code, code)) for code in codes), key=lambda one: one[1])
