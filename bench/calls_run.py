"""One run of bench/calls: a real phone process, its calls, and the search for lost frames."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.calls_wire import STAMP, Remote
from tests.phone.certs import Authority
from tests.phone.house import DIALLED, House

from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.endpoint import Endpoint, OutgoingCall
from nightbell.phone.endpoint import Limits as SipLimits
from nightbell.phone.tls import Tls
from nightbell.sealing.capture import open_capture

RATE = 48  # new calls a second, under what one source may begin
STARVED = 0.25  # seconds: a sender that fell further behind says nothing about the highest number of calls
WORDS = 13.0  # seconds from the last key to the end of the tone
TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its children."""
    with contextlib.suppress(OSError):
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return [pid]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far."""
    total = 0
    for one in family(pid):
        parts = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(parts[11]) + int(parts[12])
    return total / TICKS


def memory_kb(pid: int) -> int:
    """Resident memory of a process and its children."""
    lines = [line for one in family(pid) for line in Path(f"/proc/{one}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@dataclass
class Load:
    """The calls of one run, and what was measured of them."""

    house: House
    calls: int
    encrypted: bool
    authority: Authority
    sent: dict[int, int] = field(default_factory=dict)
    legs: list[OutgoingCall] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    health: dict[str, Any] = field(default_factory=dict)
    rate: float = RATE

    @property
    def pid(self) -> int:
        return self.house.process.pid if self.house.process else 0

    async def place(self, endpoint: Endpoint, sender: Remote) -> None:
        """All of them, `rate` a second; each presses 0 after a second."""
        began, tasks = time.monotonic(), []
        for number in range(self.calls):
            tasks.append(asyncio.create_task(self._one(number, endpoint, sender)))
            await asyncio.sleep(max(0, began + (number + 1) / self.rate - time.monotonic()))
        await asyncio.gather(*tasks)

    async def _one(self, number: int, endpoint: Endpoint, sender: Remote) -> None:
        uri = self.house.uri
        if self.encrypted:
            uri = f"sip:{DIALLED}@127.0.0.1:{self.house.port + 1};transport=tls"
        start = time.monotonic()
        try:
            leg = await endpoint.dial(uri, sender.address, (Codec.PCMU,), f"9{number:05d}")
        except Exception as error:
            self.failed.append(repr(error))
            return
        self.times.append(time.monotonic() - start)
        if self.encrypted and leg.security.keys is None:
            self.failed.append("not encrypted")
            return
        self.legs.append(leg)
        sender.add(number, leg.remote.remote, leg.security.keys)
        await asyncio.sleep(1)
        sender.press(number, "0")

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The worker's end of the control channel: what the phone says of itself."""
        with contextlib.suppress(asyncio.CancelledError):
            async for text in reader:
                said = json.loads(text)
                self.health = said if said.get("event") == "health" else self.health
        writer.close()

    async def hang_up(self) -> None:
        for number, leg in enumerate(self.legs):
            leg.hangup()
            if not number % 10:
                await asyncio.sleep(10 / (4 * self.rate))
        await asyncio.sleep(1.5)

    async def run(self, seconds: float) -> dict[str, Any]:
        """Place the calls, let them be recorded for so long, hang up; what was measured meanwhile."""
        endpoint = Endpoint(
            "127.0.0.1", 0, lambda call: call.reject(486), Log("bench", io.StringIO()), SipLimits(calls=5000),
            tls=Tls(ca=self.authority.file),
        )  # fmt: skip
        await endpoint.start()
        control = await asyncio.start_unix_server(
            self.hear, self.house.home / "run" / "control.sock", limit=1 << 20
        )
        sender = Remote(self.calls)
        cpu = cpu_seconds(self.pid)
        await self.place(endpoint, sender)
        await asyncio.sleep(WORDS)
        steady, cpu_steady = time.monotonic(), cpu_seconds(self.pid)
        await asyncio.sleep(seconds)
        steady, cpu_steady = time.monotonic() - steady, cpu_seconds(self.pid) - cpu_steady
        memory = memory_kb(self.pid)
        told = sender.stop()
        self.sent = told["sent"]
        await asyncio.sleep(0.3)
        await self.hang_up()
        cpu = cpu_seconds(self.pid) - cpu
        await endpoint.close()
        control.close()
        call_minutes = max(sum(self.sent.values()) * 0.02 / 60, 1e-9)
        steady_cost = cpu_steady / (self.calls * steady / 60)
        set_up = (cpu - steady_cost * call_minutes) / self.calls
        self.times.sort()
        return {
            "calls": self.calls, "encrypted": self.encrypted, "failed": len(self.failed), "failures": self.failed[:3],
            "packets": told["packets"], "unsent": told["unsent"],
            "sender_worst_ms": round(told["worst"] * 1000, 1), "sender_starved": told["worst"] > STARVED,
            "memory_kb": memory, "cpu_s_per_call_minute": cpu / call_minutes,
            "steady_cpu_s_per_call_minute": steady_cost, "set_up_cpu_ms_per_call": 1000 * set_up,
            "cpu_s_per_60_s_call": steady_cost + set_up,
            "core_percent": 100 * cpu_steady / steady,
            "late_ticks": self.health.get("late_ticks"), "worst_lag_ms": self.health.get("worst_lag_ms"),
            "invite_to_200_ms": {
                "p50": round(1000 * statistics.median(self.times or [0]), 1),
                "p99": round(1000 * (self.times or [0])[max(0, int(0.99 * len(self.times)) - 1)], 1),
            },
        }  # fmt: skip


def lost_frames(house: House, sent: dict[int, int]) -> dict[str, int]:
    """Every frame looked for: from each capture's first one to the last one sent, with its right words in it."""
    ends = time.monotonic() + 30
    while len(house.files("cap")) < len(sent) and time.monotonic() < ends:
        time.sleep(0.1)
    kept = lost = wrong = 0
    seen = set()
    for path in house.files("cap"):
        capture = open_capture(path.read_bytes(), house.private)
        stamps = [STAMP.unpack_from(packet.payload) for packet in capture.packets]
        if not stamps:
            continue
        number, first = stamps[0]
        frames = {stamp for _, stamp in stamps}
        seen.add(number)
        kept += len(frames)
        lost += sent.get(number, 0) - min(frames) - len(frames)
        base = capture.packets[0].offset - first * 160
        wrong += sum(
            who != number or packet.offset != base + stamp * 160
            for packet, (who, stamp) in zip(capture.packets, stamps, strict=True)
        )
    return {
        "recorded_frames": kept, "lost_packets": lost, "misplaced_frames": wrong,
        "captures_missing": len(set(sent) - seen),
    }  # fmt: skip


def phone_run(
    calls: int,
    seconds: float,
    encrypted: bool,
    cores: list[int],
    processes: int = 1,
    prefix: tuple[str, ...] = (),
    rate: float = RATE,
) -> dict[str, Any]:
    """One real phone process with so many calls at once. prefix: what starts the phone, for example with a share of a core;
    rate: new calls a second."""
    root = Path(tempfile.mkdtemp(prefix="nightbell-bench-"))
    house = House(root, max_seconds=600)
    house.processes = processes
    (house.folder / "snapshot.json").write_bytes(
        house.signed(1, limits={"max_calls": 5000, "drain_seconds": 1})
    )
    (house.folder / "tls").mkdir()
    (root / "ca").mkdir()
    authority = Authority(root / "ca")
    pair = authority.issue("127.0.0.1")
    shutil.copy(pair.certificate, house.folder / "tls" / "sip.pem")
    shutil.copy(pair.key, house.folder / "tls" / "sip.key")
    try:
        pinned = ("taskset", "-c", ",".join(map(str, cores))) if shutil.which("taskset") else ()
        house.start(prefix=(*prefix, *pinned))
        load = Load(house, calls, encrypted, authority, rate=rate)
        before = memory_kb(load.pid)
        out = asyncio.run(load.run(seconds))
        out |= lost_frames(house, load.sent)
        out["memory_mib"] = round(out["memory_kb"] / 1024, 1)
        out["memory_kib_per_call"] = round((out.pop("memory_kb") - before) / calls, 1)
        return out
    finally:
        if house.process is not None:
            house.stop(signal.SIGTERM)
        shutil.rmtree(root, ignore_errors=True)


def clean(run: dict[str, Any], most: int) -> bool:
    """Nothing lost, and the load was what it should be (a starved sender may not claim more than `most`)."""
    bad = run["lost_packets"] or run["failed"] or run["captures_missing"] or run["misplaced_frames"]
    return not bad and (not run["sender_starved"] or run["calls"] <= most)
