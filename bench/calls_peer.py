"""A peer that can be had here: rtpengine takes the same SRTP packets and records them to pcap files, in clear."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.calls_wire import Line, Sender
from tests.ports import free_port

from nightbell.sip.srtp import SrtpKeys

SUITE = "AES_CM_128_HMAC_SHA1_80"
TICKS = os.sysconf("SC_CLK_TCK")


def bencoded(value: Any) -> bytes:
    """Its control protocol's encoding."""
    if isinstance(value, dict):
        return b"d" + b"".join(bencoded(key) + bencoded(one) for key, one in sorted(value.items())) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(bencoded, value)) + b"e"
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"%d:" % len(data) + data


class Engine:
    """rtpengine-daemon in user space on one core."""

    def __init__(self, folder: Path, core: int) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), shutil.which("rtpengine") or "rtpengine", "--foreground", "--table=-1",
             "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{self.port}", f"--pidfile={folder}/pid",
             "--port-min=40000", "--port-max=49998", "--recording-method=pcap", f"--recording-dir={folder}",
             "--recording-format=eth", "--num-threads=2", "--log-level=3", "--log-stderr"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(2)
        for name in ("pcaps", "metadata"):
            (folder / name).mkdir(exist_ok=True)

    def ask(self, **command: Any) -> bytes:
        cookie = secrets.token_hex(6).encode()
        named = {key.replace("_", "-"): value for key, value in command.items()}
        self._socket.sendto(cookie + b" " + bencoded(named), ("127.0.0.1", self.port))
        while True:
            answer = self._socket.recv(65_536)
            if answer.startswith(cookie):
                return answer

    def ready(self) -> None:
        for _ in range(50):
            try:
                if b"pong" in self.ask(command="ping"):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("rtpengine does not answer")

    def cpu(self) -> float:
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / TICKS

    def memory_kb(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    def call(self, number: int, source: tuple[str, int], key: bytes, sink: int) -> tuple[str, int]:
        """An encrypted caller and a plain callee; where the caller's sound goes."""
        name, tail = f"call{number}", "t=0 0\r\n"
        head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\n" + tail
        inline = base64.b64encode(key).decode()
        offer = head + f"m=audio {source[1]} RTP/SAVP 0\r\na=crypto:1 {SUITE} inline:{inline}\r\n"
        self.ask(
            command="offer", call_id=name, from_tag="a", sdp=offer, transport_protocol="RTP/AVP",
            ICE="remove", record_call="yes", flags=["record-call"],
        )  # fmt: skip
        answer = head + f"m=audio {sink} RTP/AVP 0\r\n"
        told = self.ask(command="answer", call_id=name, from_tag="a", to_tag="b", sdp=answer, ICE="remove")
        line = next(line for line in told.decode("latin1").split("\r\n") if "m=audio" in line)
        return "127.0.0.1", int(line.split("m=audio ")[1].split()[0])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._socket.close()


def rtpengine_run(calls: int, seconds: float, core: int) -> dict[str, Any]:
    """CPU by call-minute while it decrypts and records; why not, where it cannot be run."""
    if shutil.which("rtpengine") is None or shutil.which("taskset") is None:
        return {"off": "rtpengine is not installed"}
    with tempfile.TemporaryDirectory(prefix="nightbell-bench-") as root:
        engine = Engine(Path(root), core)
        try:
            engine.ready()
            return _measured(engine, calls, seconds, Path(root))
        except (OSError, RuntimeError, StopIteration) as error:
            return {"off": f"could not be driven ({type(error).__name__})"}
        finally:
            engine.close()


def _measured(engine: Engine, calls: int, seconds: float, folder: Path) -> dict[str, Any]:
    sender = Sender(calls)
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    before = engine.memory_kb()
    for number in range(calls):
        key = secrets.token_bytes(30)
        target = engine.call(number, sender.socket.getsockname(), key, sink.getsockname()[1])
        sender.add(Line(number, target, SrtpKeys(SUITE, key, bytes(30))))
    sender.start()
    time.sleep(1)
    began, cpu = time.monotonic(), engine.cpu()
    time.sleep(seconds)
    lasted, cpu = time.monotonic() - began, engine.cpu() - cpu
    memory = engine.memory_kb() - before
    sender.running = False
    sender.join()
    time.sleep(0.5)
    for number in range(calls):
        engine.ask(command="delete", call_id=f"call{number}", from_tag="a")
    stored = sum(path.stat().st_size for path in folder.rglob("*.pcap"))
    sender.socket.close()
    sink.close()
    return {
        "calls": calls, "cpu_s_per_call_minute": round(cpu / (calls * lasted / 60), 4),
        "memory_kib_per_call": round(memory / calls, 1), "packets_sent": sender.packets,
        "bytes_recorded": stored, "recorded_share": round(stored / max(1, sender.packets) / (172 + 42 + 16), 3),
    }  # fmt: skip
