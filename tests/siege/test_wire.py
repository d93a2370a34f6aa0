"""Mutated datagrams at a real phone's ports while calls are recorded: nothing of it is heard, kept, or remembered."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.phone.house import House, running
from tests.siege.under import Watch, memory_kb, speaking, traces

from nightbell.core.clock import monotonic

RUNS = int(os.environ.get("SIEGE_RUNS", "12000"))
SOURCES, CALLS = 120, 5
GROWTH_KB = 12_288  # what a first storm may leave: tables of sources, all of them bounded
SETTLED = 120.0  # seconds: calls of the storm that nobody acknowledges live 32 to 51 s, then heap.EVERY


async def settled(house: House, most: int) -> int:
    """What the phone holds once the storm's last calls have ended, KiB: more than `most` only if it stays there."""
    began = monotonic()
    while memory_kb(house) >= most and monotonic() - began < SETTLED:
        await asyncio.sleep(5)
    print(f"{memory_kb(house)} KiB after {monotonic() - began:.0f} s")
    return memory_kb(house)


async def storm(house: House, sound: list[int], runs: int, seed: int) -> dict[str, float]:
    given = {"port": house.port, "sound": sound, "runs": runs, "seed": seed, "sources": SOURCES}
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("storm.py")),
        json.dumps(given),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    return dict(json.loads(out))


def test_calls_are_recorded_to_the_byte_in_a_storm(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        async with Watch(house) as watch:
            done = round_number = 0
            memory: list[int] = []
            while done < RUNS:
                async with speaking(house, CALLS) as speakers:
                    own = [caller.target[1] for caller in speakers.callers]
                    ports = [port + more for port in own for more in (0, 0, 0, 1, 2)]
                    runs = min(RUNS - done, 100_000)
                    began = monotonic()
                    told = await storm(house, ports, runs, 4475 + round_number)
                    assert told["unanswered"] == 0
                speakers.assert_kept()
                for path in house.files("cap"):
                    path.unlink()
                done, round_number = done + runs, round_number + 1
                memory.append(memory_kb(house))
                print(
                    f"{done} datagrams, {runs / (monotonic() - began):.0f} a second, {memory[-1]} KiB, {told}"
                )
            health = await watch.next()
            print(
                {
                    name: health["sip"].get(name, 0)
                    for name in ("errors", "malformed", "strangers", "throttled", "calls")
                }
            )
            assert health["sip"].get("errors", 0) == 0
            assert health["sip"]["malformed"] > RUNS / 20
            if round_number == 1:
                assert memory[-1] - start < GROWTH_KB, "at once: one storm's calls are within it"
            assert await settled(house, start + GROWTH_KB) < start + GROWTH_KB

    with running(tmp_path, max_seconds=600) as house:
        start = memory_kb(house)
        asyncio.run(story(house))
        assert traces(house) == []
