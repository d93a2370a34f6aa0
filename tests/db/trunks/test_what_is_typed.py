"""What may be typed in as a trunk, and how a risk names all of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.db.trunks.conftest import NOW, PLAIN, WHY, by
from tests.factories import House

from nightbell.compliance import transport
from nightbell.core.config import load
from nightbell.line import trunks
from nightbell.people.models import RiskAcceptance
from nightbell.sip.trunk import BadTrunk

BOX = replace(PLAIN, domain="box.example", proxy="edge.box.example")


def test_what_is_accepted_names_every_network_and_the_server(house: House) -> None:
    many = [f"203.0.113.{n}" for n in range(200)]
    trunk = trunks.add(by(), replace(BOX, sources="\n".join(many)))
    one = trunks.one_trunk(trunk)
    assert one.brief == "edge.box.example, 203.0.113.0, 203.0.113.1, 203.0.113.2 and 197 more by UDP"
    trunks.accept_risk(by(), trunk, WHY, NOW + timedelta(days=90))
    kept = RiskAcceptance.objects.get().about
    assert kept == one.about == f"edge.box.example, {', '.join(many)} by UDP"
    shown = next(hop for hop in transport.in_transit(load(), NOW) if hop.name.startswith("Trunk"))
    assert shown.risk is not None and shown.risk.about == kept


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"sources": "127.0.0.1 ::1"}, "sources", "need no trunk"),
        ({"sources": "::ffff:127.0.0.1"}, "sources", "need no trunk"),
        ({"sources": "", "domain": "localhost"}, "domain", "need no trunk"),
        ({"sources": "fe80::1%eth0"}, "sources", "scope"),
        ({"proxy": "[fe80::1%eth0]:5060"}, "proxy", "scope"),
        ({"proxy": "239.1.1.1:5060"}, "proxy", "nobody's"),
        ({"domain": "224.0.0.1"}, "domain", "nobody's"),
        ({"domain": "0.0.0.0"}, "domain", "nobody's"),
        ({"domain": "12345"}, "domain", "neither"),
        ({"domain": "10.0.0.256"}, "domain", "neither"),
        ({"proxy": "0x7f.0x1"}, "proxy", "neither"),
        ({"kind": "certificate", "peer_name": "224.0.0.1"}, "certificate name", "nobody's"),
        ({"domain": "x" * 50_000}, "domain", "host name"),
        ({"transport": "x" * 50_000}, "transport", "is none"),
        ({"kind": "register", "domain": "a.example", "user": "u", "password": "   "}, "password", "blank"),
    ],
)
def test_what_is_no_trunk_is_told_at_its_field(
    house: House, plain: str, change: dict[str, str], field: str, told: str
) -> None:
    for write in (lambda given: trunks.add(by(), given), lambda given: trunks.change(by(), plain, given)):
        with pytest.raises(BadTrunk) as raised:
            write(replace(PLAIN, name="New", **change))
        assert raised.value.field == field and told in str(raised.value) and len(str(raised.value)) < 300
    assert trunks.add(by(), replace(PLAIN, name="Beside", sources="127.0.0.1 203.0.113.9"))
