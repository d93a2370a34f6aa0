"""Public holidays of a country and state, from the `holidays` library. Nothing else imports it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache

import holidays

from nightbell.flow.plan import BadPlan

OBSERVED = " (observed)"  # as the library marks the day on which one is kept that falls on a day without work


@cache
def names(country: str, state: str, year: int) -> Mapping[date, tuple[str, ...]]:
    """The public holidays of one year, observed days included. state '': those of the whole country.

    Raises BadPlan for a country or state without a calendar.
    """
    try:
        found = holidays.country_holidays(
            country, subdiv=state or None, years=year, language=_language(country)
        )
    except NotImplementedError as error:
        where = f"{country} {state}".strip()
        raise BadPlan(
            f"no holidays are known for {where[:20]!r}", "choose the country and state from the list"
        ) from error
    return {day: tuple(found.get_list(day)) for day in sorted(found)}


def _language(country: str) -> str | None:
    """Names in English where there are any, else as the country has them."""
    there = holidays.list_localized_countries().get(country, [])
    return next((one for one in there if one.startswith("en")), None)


def kept(country: str, state: str, years: Iterable[int], observed: tuple[str, ...] | None) -> dict[date, str]:
    """The days on which a practice is closed for a public holiday. observed: names that it keeps, None for all."""
    days: dict[date, str] = {}
    for year in years:
        for day, named in names(country, state, year).items():
            ours = [name for name in named if observed is None or plain(name) in observed]
            if ours:
                days[day] = "; ".join(ours)
    return days


def plain(name: str) -> str:
    """The name of a holiday, whichever day it is kept on."""
    return name.removesuffix(OBSERVED)


def choices(country: str, state: str, year: int) -> dict[str, date]:
    """The holidays that a practice may keep or not: plain name to its day in the year, in their order."""
    found: dict[str, date] = {}
    for day, named in names(country, state, year).items():
        for name in named:
            if name == plain(name) or plain(name) not in found:
                found[plain(name)] = day
    return dict(sorted(found.items(), key=lambda one: one[1]))


@cache
def states(country: str) -> tuple[str, ...]:
    """The states of a country that have a calendar of their own. Raises BadPlan for an unknown country."""
    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        raise BadPlan(f"no holidays are known for {country[:20]!r}", "choose the country from the list")
    return tuple(known[country])
