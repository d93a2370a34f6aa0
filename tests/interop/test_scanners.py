"""SIPVicious against the port: it learns nothing, and whoever talks to us meanwhile goes on talking."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.phone.endpoints import line, message, offer, phone, placed, run, until

from nightbell.phone.policy import Policy
from nightbell.sip.trunk import Kind, Trunk

CARRIER = Trunk("01A", "t", Kind.ADDRESS, sources=("127.0.0.1",), transport="udp", plain=True)


async def scan(home: Path, port: int, name: str, *options: str) -> str:
    """What a scanner tells."""
    process = await asyncio.create_subprocess_exec(
        name, "-p", str(port), *options, "127.0.0.1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "COLUMNS": "200"},
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode()


def test_scanners_learn_nothing_and_disturb_nobody(tmp_path: Path) -> None:
    """Once as anybody on this machine, once from the address of a trunk, who is answered, and everywhere alike."""
    crack = ("svcrack", "-u", "100", "-r", "1-60", "--maximumtime=2")
    war = ("svwar", "--force", "--maximumtime=2", "-e", "100-160")

    async def story() -> None:
        async with line() as it, line(policy=Policy([CARRIER])) as other, phone(it.endpoint.port) as caller:
            answer = await placed(caller)
            await until(lambda: it.events == ["confirmed"])
            tools = [("svmap",), crack, war, (*war, "-m", "INVITE")]
            found = await asyncio.gather(
                *(scan(tmp_path, it.endpoint.port, *tool) for tool in tools),
                *(scan(tmp_path, other.endpoint.port, *tool) for tool in (crack, war)),
            )
            for told in found:
                assert "found nothing" in told, told
            counters = it.endpoint.counters
            assert counters["scanners"] >= 4 and len(it.calls) == 1
            assert other.calls == [] and other.endpoint.counters["rejected_405"] >= 2
            caller.send(
                message("INVITE", caller.port, 2, branch="z9hG4bKre", to_tag=answer.to.tag, body=offer())
            )
            again = await caller.response()
            assert (again.code, again.to.tag) == (200, answer.to.tag)
            caller.send(message("ACK", caller.port, 2, branch="z9hG4bKra", to_tag=answer.to.tag))
            caller.send(message("BYE", caller.port, 3, branch="z9hG4bKb", to_tag=answer.to.tag))
            assert (await caller.response()).cseq.method == "BYE"
            assert counters["errors"] == 0

    run(story(), 60)
