"""The real phone process on the wire: its certificate, its addresses, its lock-in, and the rules of a new snapshot."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.phone.certs import Authority
from tests.phone.endpoints import LOCAL, run, until
from tests.phone.house import DIALLED, House

from nightbell.core import sandbox
from nightbell.core.capture import Codec
from nightbell.core.log import Log
from nightbell.phone.endpoint import CallFailed, Endpoint
from nightbell.phone.tls import Tls

CONNECT = """
import json, socket, sys
from nightbell.core import sandbox
from pathlib import Path
open_port, shut_port = int(sys.argv[1]), int(sys.argv[2])
sandbox.restrict_files([*sandbox.system_paths()], [], True, [open_port])
def attempt(port, source=None):
    try:
        socket.create_connection(("127.0.0.1", port), source_address=source).close()
        return "done"
    except OSError as error:
        return type(error).__name__
def bind(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
        return "done"
    except OSError as error:
        return type(error).__name__
print(json.dumps([attempt(open_port), attempt(open_port, ("127.0.0.2", 0)), attempt(shut_port), bind(shut_port)]))
"""


class Wire(House):
    """A house with a certificate, that listens on two addresses."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (self.folder / "tls").mkdir()
        self.authority = Authority(root)
        pair = self.authority.issue("127.0.0.1", "::1")
        (self.folder / "tls" / "sip.pem").write_bytes(pair.certificate.read_bytes())
        (self.folder / "tls" / "sip.key").write_bytes(pair.key.read_bytes())

    def environment(self) -> dict[str, str]:
        return super().environment() | {"NIGHTBELL_SIP_BIND": "127.0.0.1, ::1"}


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    house = Wire(tmp_path_factory.mktemp("wire"))
    house.start()
    yield house
    house.stop()


def caller(house: Wire, bind: str) -> Endpoint:
    return Endpoint(
        bind, 0, lambda call: call.reject(486), Log("test", io.StringIO()), tls=Tls(ca=house.authority.file)
    )


def ports_of(host: str) -> set[int]:
    """UDP ports that are bound on this very address (proc(5), /proc/net/udp)."""
    raw = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4)).hex().upper()
    lines = Path(f"/proc/net/udp{6 if ':' in host else ''}").read_text().splitlines()[1:]
    found = [line.split()[1].split(":") for line in lines]
    return {int(port, 16) for address, port in found if address == words}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("way", ["udp", "tcp", "tls"])
def test_its_sound_takes_the_address_of_its_signalling(wire: Wire, host: str, way: str) -> None:
    async def story() -> None:
        endpoint = caller(wire, host)
        await endpoint.start()
        shown = f"[{host}]" if ":" in host else host
        port = wire.port + (way == "tls")
        leg = await endpoint.dial(
            f"sip:{DIALLED}@{shown}:{port};transport={way}", (host, 40000), (Codec.PCMU,)
        )
        assert leg.remote.address == host
        assert leg.remote.port in ports_of(host)
        over: list[str] = []
        leg.on_end = over.append
        leg.hangup()
        await until(lambda: over == ["bye"] and endpoint.calls == 0)
        await endpoint.close()

    run(story())


def test_tcp_only_to_the_ports_that_are_named() -> None:
    assert sandbox.landlock_abi() >= 4
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [str(one.getsockname()[1]) for one in (first, second)]
        tried = subprocess.run(
            [sys.executable, "-c", CONNECT, *ports], capture_output=True, text=True, timeout=30, check=False,
            env={"PYTHONPATH": "src", "PATH": "/usr/bin"},
        )  # fmt: skip
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout) == ["done", "done", "PermissionError", "PermissionError"]


def test_a_new_snapshot_has_new_rules_at_once(tmp_path: Path) -> None:
    """The worker's end of the control channel sends one that lets nobody of this machine in."""
    house = Wire(tmp_path)

    async def story() -> None:
        told = asyncio.Event()
        writers: list[asyncio.StreamWriter] = []

        async def worker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while line := await reader.readline():
                if b"snapshot_in_force" in line:
                    told.set()

        server = await asyncio.start_unix_server(worker, house.home / "run" / "control.sock", limit=1 << 20)
        await asyncio.to_thread(house.start)
        endpoint = caller(house, "127.0.0.1")
        await endpoint.start()
        leg = await endpoint.dial(house.uri, LOCAL, (Codec.PCMU,))
        await until(lambda: writers)
        text = house.signed(2, limits={"local": False, "drain_seconds": 1})
        writers[0].write(json.dumps({"command": "snapshot", "data": json.loads(text)}).encode() + b"\n")
        await asyncio.wait_for(told.wait(), 5)
        began = time.monotonic()
        dialling = asyncio.create_task(endpoint.dial(house.uri, LOCAL, (Codec.PCMU,)))
        await asyncio.sleep(1)
        assert not dialling.done(), "a stranger was answered"
        dialling.cancel()
        over: list[str] = []
        leg.on_end = over.append
        leg.hangup()
        await until(lambda: not any(call.call_id == leg.call_id for call in endpoint._calls.values()))
        assert time.monotonic() - began < 5, "the BYE of a call in progress was not answered"
        await endpoint.close()
        server.close()

    try:
        run(story())
    finally:
        house.stop()


def test_somebody_who_proves_nothing_is_not_called(wire: Wire, tmp_path: Path) -> None:
    async def story() -> None:
        other = Authority(tmp_path, "other")
        endpoint = Endpoint("127.0.0.1", 0, print, Log("test", io.StringIO()), tls=Tls(ca=other.file))
        await endpoint.start()
        with pytest.raises(CallFailed):
            await endpoint.dial(f"sips:{DIALLED}@127.0.0.1:{wire.port + 1}", LOCAL, (Codec.PCMU,))
        await endpoint.close()

    run(story())
