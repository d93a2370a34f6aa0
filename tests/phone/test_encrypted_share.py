"""Calls by trunks are counted as encrypted or not, once each, for the evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import line, until
from tests.phone.test_endpoint_tls import over_tls, secured
from tests.phone.test_securing import DTLS, TRUNK, described, run, sdes

from nightbell.phone.policy import Policy
from nightbell.phone.tls import Tls

PLAIN = Policy([replace(TRUNK, plain=True)], local=False)


@pytest.mark.parametrize(
    ("policy", "body", "counted"),
    [
        (PLAIN, described("RTP/SAVP", sdes("A")), {"calls_encrypted": 1}),
        (PLAIN, described("RTP/AVP"), {"calls_plain": 1}),
        (PLAIN, described("UDP/TLS/RTP/SAVP", DTLS), {"calls_encrypted": 1}),
        (Policy([], local=True), described("RTP/AVP"), {}),
    ],
)
def test_each_call_by_a_trunk_is_counted_once(
    tmp_path: Path, policy: Policy, body: str, counted: dict[str, int]
) -> None:
    async def story() -> None:
        authority = Authority(tmp_path)
        tls = Tls(authority.issue("127.0.0.1"))
        async with line(tls=tls, policy=policy) as it, secured(it, authority.client()) as client:
            client.send(over_tls("INVITE", client.port, body=body))
            answer = await client.response()
            assert answer.code == 200
            for _ in range(2):
                client.send(over_tls("ACK", client.port, branch="z9hG4bK2", to_tag=answer.to.tag))
            await until(lambda: "confirmed" in it.events)
            found = {
                name: n
                for name, n in it.endpoint.counters.items()
                if name in ("calls_encrypted", "calls_plain")
            }
            assert found == counted

    run(story())
