"""Recordings that a provider holds and nobody told us of: our server was away, from the first ring to the last word.

The provider is asked every few minutes for what it recorded lately. What belongs to a call that we do not know, to a
number of ours, becomes a message like any other; recordings for other numbers of the account are never touched.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from nightbell.core import clock
from nightbell.core.carriers import Carrier, CarrierAway, Held, NotThere
from nightbell.line import carrier_calls, carrier_lines, carrier_lost
from nightbell.line.carrier_calls import LOOSE
from nightbell.line.carrier_intake import Tools
from nightbell.line.carrier_models import CarrierCall

EVERY = 300.0  # seconds
LOOKS_BACK = timedelta(days=2)
MOST_AWAY = 3
_MOST_OTHERS = 10_000


class Finder:
    """`step` asks when it is time to. others: digests of calls that are none of ours, so that none is asked for twice."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._next = 0.0
        self._others: set[str] = set()
        self._numbers: frozenset[str] = frozenset()  # by which the others were told apart

    def step(self, now: datetime) -> int:
        """How many calls were found, or came back."""
        if clock.monotonic() < self._next:
            return 0
        self._next = clock.monotonic() + EVERY
        carrier_calls.sweep_keys(now)
        found = carrier_lost.ask_again(self._tools, now)
        if carrier_lines.numbers() != self._numbers:
            self._others.clear()
            self._numbers = carrier_lines.numbers()
        for carrier in self._tools.carriers.values():
            try:
                found += self._look(carrier, now)
            except CarrierAway as error:
                self._tools.log.failure("carrier.away", error, kind=carrier.name)
        return found

    def _look(self, carrier: Carrier, now: datetime) -> int:
        found = 0
        listed = carrier.since(now - LOOKS_BACK)
        digests = {call: carrier_calls.digest(call) for call, _ in listed if call}
        known = set(
            CarrierCall.objects.filter(provider=carrier.name, digest__in=digests.values()).values_list(
                "digest", flat=True
            )
        )
        away = 0
        for call, held in listed:
            if not call or digests[call] in known | self._others or held.status != "completed":
                continue
            known.add(digests[call])  # its other recordings come with it
            try:
                found += self._take(carrier, call, held, now)
            except CarrierAway:
                away += 1  # of this call, perhaps: the others are asked for all the same
                if away == MOST_AWAY:
                    raise
        return found

    def _take(self, carrier: Carrier, call: str, held: Held, now: datetime) -> int:
        try:
            facts = carrier.facts(call)
        except NotThere:
            return 0
        if not carrier_lines.find(facts.ring).practice:
            if self._numbers and len(self._others) < _MOST_OTHERS:
                self._others.add(carrier_calls.digest(call))
            return 0
        if not facts.over:
            return 0
        carrier_calls.recording(carrier.name, call, LOOSE, held.id, held.status, now)
        self._tools.log("carrier.found", kind=carrier.name)
        return 1
