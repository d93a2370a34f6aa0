"""Carriers, for health: what is stored of trunks, as the worker told it, judged with what phones say. No Django here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from nightbell.compliance import certificates
from nightbell.core.config import Config
from nightbell.line import trunk_states


def check(
    trunks: Sequence[Mapping[str, Any]], phones: Sequence[Mapping[str, Any]], config: Config, now: datetime
) -> dict[str, Any]:
    """The check 'carrier' of health: {"ok", "says"}."""
    facts = certificates.of_phone(config)
    ends = facts.ends if facts is not None else None
    ok, says = trunk_states.judged(trunks, trunk_states.merged(phones), ends, listens_beyond(config), now)
    return {"ok": ok, "says": says}


def listens_beyond(config: Config) -> bool:
    """Whether the phone listens on an address that other machines reach."""
    return any(not ipaddress.ip_address(one).is_loopback for one in config.sip_bind)
