"""SIPVicious at a phone that has calls: it learns nothing, and nobody on the line notices."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import statistics
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from tests.phone.endpoints import message, offer, phone
from tests.phone.house import DIALLED, House, running
from tests.ports import free_port
from tests.siege.under import Watch, speaking, traces

from nightbell.core.clock import monotonic

HERE = "127.0.0.2"  # not where the callers are: whoever floods is held back by address
NOBODYS = ("1000", "5559990000", "admin")


class Disguise(asyncio.DatagramProtocol):
    """Stands between a scanner and the phone, and takes the scanner's name off what it says."""

    def __init__(self, to: int) -> None:
        self._to = ("127.0.0.1", to)
        self.scanner: Any = None
        self.passed = self.answered = 0
        self.heard: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.wire = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr == self._to:
            self.answered += 1
            self.heard.append(data)
            if self.scanner is not None:
                self.wire.sendto(data, self.scanner)
            return
        self.scanner = addr
        self.passed += 1
        self.wire.sendto(re.sub(rb"friendly-scanner|sipvicious", b"desk-phone", data), self._to)


async def tool(folder: Path, port: int, name: str, *options: str, at: str = "127.0.0.1") -> str:
    """What a scanner prints; it is given up after a while."""
    place = Path(tempfile.mkdtemp(dir=folder))
    child = await asyncio.create_subprocess_exec(
        shutil.which(name) or name, "-b", HERE, "-p", str(port), "-P", str(free_port()), *options, at,
        cwd=place, env={"PATH": os.environ["PATH"], "HOME": str(place)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(14):
            out, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        out, _ = await child.communicate()
    return out.decode()


async def disguised(house: House, folder: Path, name: str, *options: str) -> tuple[str, Disguise]:
    wire, relay = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Disguise(house.port), local_addr=(HERE, 0)
    )
    try:
        return await tool(folder, relay.port, name, *options, at=HERE), relay
    finally:
        wire.close()


async def medians(port: int, names: Collection[str], rounds: int) -> dict[str, float]:
    """Milliseconds from INVITE to its first answer, the median for each name."""
    times: dict[str, list[float]] = {name: [] for name in names}
    async with phone(port) as client:
        for number in range(rounds):
            for name in random.sample(sorted(names), len(names)):  # no name is always the first
                one = {
                    "call_id": f"m{number}{name}",
                    "branch": f"z9hG4bKm{number}{name}",
                    "uri": f"sip:{name}@127.0.0.1",
                }
                began = monotonic()
                client.send(message("INVITE", client.port, body=offer(client.port), **one))
                tag = (await client.response()).to.tag
                times[name].append((monotonic() - began) * 1000)
                client.send(
                    message("ACK", client.port, to_tag=tag, **(one | {"branch": one["branch"] + "a"}))
                )
                client.send(
                    message("BYE", client.port, 2, to_tag=tag, **(one | {"branch": one["branch"] + "b"}))
                )
                await asyncio.sleep(0.06)
                client.pending()
    return {name: round(statistics.median(found), 2) for name, found in times.items()}


async def scanned(house: House, folder: Path, stranger: bool) -> tuple[list[tuple[str, Disguise]], list[str]]:
    """All tools at once. What those in disguise print, each with its disguise, svmap first; what the others print."""
    words = folder / "words"
    words.write_text("\n".join([DIALLED, *NOBODYS]) + "\n")
    names = ("-d", str(words), "--force")
    # These two do not keep to the address that they are given: they would come from where the callers are.
    undisguised = [
        ("svwar", "-m", "INVITE", "-e", "100-400", "-t", "0.001"),
        ("svcrack", "-u", DIALLED, "-d", str(words)),
    ]
    relays = asyncio.gather(
        disguised(house, folder, "svmap"),
        *(
            disguised(house, folder, "svwar", "-m", method, *names)
            for method in ("INVITE", "REGISTER", "OPTIONS")
        ),
        disguised(house, folder, "svcrack", "-u", DIALLED, "-d", str(words)),
        disguised(house, folder, "svwar", "-m", "OPTIONS", "-e", "100-400", "--force", "-t", "0.001"),
    )
    outs = asyncio.gather(
        tool(folder, house.port, "svmap"),
        *(tool(folder, house.port, *words_of) for words_of in ([] if stranger else undisguised)),
    )
    return await relays, await outs


def learnt_nothing(relays: list[tuple[str, Disguise]], outs: list[str], stranger: bool) -> None:
    for out in outs:
        assert DIALLED not in out, out
    for out, relay in relays[1:]:
        assert relay.passed
        assert "found nothing" in out, out
        assert DIALLED not in out
    heard = b"".join(data for _, relay in relays for data in relay.heard)
    assert (heard == b"") is stranger
    assert b"Authenticate" not in heard, "nobody is ever asked for a password"


async def noticed(house: House, sip: dict[str, Any], calls: int, stranger: bool) -> None:
    """What the phone has counted of it, with so many calls of others."""
    shown = ("strangers", "scanners", "throttled", "calls")
    print({name: count for name, count in sip.items() if name in shown})
    if stranger:
        assert sip["strangers"] >= 5
        assert sip["in_INVITE"] == calls, "no stranger's message came as far as the parser"
        assert not any(sip.get(f"in_{name}") for name in ("OPTIONS", "REGISTER", "other"))
        assert "sip_stranger" in (house.home / "phone.log").read_text()
    else:
        assert sip["scanners"] >= 3
        assert sip["throttled"] > 50
        print("medians in ms:", await medians(house.port, (DIALLED, *NOBODYS), 5))
    assert not sip.get("errors")


def know_only_callers(house: House) -> None:
    """The callers come from an address that is a carrier's, the scanner does not."""
    trunk = {"id": "01K000000000000000000000AA", "name": "t", "kind": "address", "sources": ["127.0.0.1"],
             "transport": "udp", "plain": True}  # fmt: skip
    house.stop()
    (house.folder / "snapshot.json").write_bytes(house.signed(2, trunks=[trunk], limits={"local": False}))
    house.start()


@pytest.mark.parametrize("stranger", [False, True])
def test_a_scan_finds_nothing_and_touches_no_call(tmp_path: Path, stranger: bool) -> None:
    async def story(house: House) -> None:
        async with Watch(house) as watch, speaking(house, 2) as speakers:
            learnt_nothing(*await scanned(house, tmp_path, stranger), stranger)
            sip = (await watch.next())["sip"]
            await noticed(house, sip, len(speakers.callers), stranger)
        speakers.assert_kept()

    with running(tmp_path) as house:
        if stranger:
            know_only_callers(house)
        asyncio.run(story(house))
        assert traces(house) == []
