"""Every stack by every way it knows to the real phone process, and we are the one who hangs up.

Each caller hears the notice, presses 0, speaks, presses # when enough of it is sealed, and gets our BYE.
That callers hang up themselves is in the neighbours of this file, but for linphone without encryption: it calls twice here.
SIPp as Debian builds it knows neither TLS nor SRTP; PJSIP as packaged for Python no DTLS-SRTP.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interop.linphone import Linphone
from tests.interop.test_encrypted_sound import ENOUGH, HERE, Street, noise, of_file
from tests.phone.house import DIALLED, PRACTICE, spoken_of
from tests.phone.test_sipp import SCENARIO, pcap, spoken
from tests.ports import free_port
from tests.sound import Samples, alike

from nightbell.core.capture import Capture, Codec, EndReason
from nightbell.phone import voice
from nightbell.sealing.capture import open_capture
from nightbell.sip import g711
from nightbell.sip.dtmf import key_press
from nightbell.sip.rtp import pack, unpack

LONGEST = 40.0  # seconds after which a caller hangs up; a call takes some seventeen
LONG_ENOUGH = 3.5  # seconds of a message: whoever says less is asked for more
SIPP_ADDRESS = "127.0.0.9"  # its own, so that what is sent to it can be told from everything else
# name: stack, way, keys, codec
CELLS = {
    "pjsip-udp": ("pjsip", "udp", "none", "PCMU"),
    "pjsip-tcp": ("pjsip", "tcp", "none", "PCMA"),
    "baresip-ipv6": ("baresip", "udp6", "none", "PCMU"),
    "pjsip-sdes-tls": ("pjsip", "tls", "sdes", "PCMA"),
    "baresip-udp": ("baresip", "udp", "none", "PCMA"),
    "baresip-tcp": ("baresip", "tcp", "none", "PCMU"),
    "baresip-sdes-tls": ("baresip", "tls", "sdes", "PCMA"),
    "baresip-sdes-tls-ipv6": ("baresip", "tls6", "sdes", "PCMU"),
    "baresip-dtls-udp": ("baresip", "udp", "dtls", "PCMU"),
    "linphone-udp": ("linphone", "udp", "none", "PCMA"),
    "linphone-tcp": ("linphone", "tcp", "none", "PCMU"),
    "linphone-srtp-tls": ("linphone", "tls", "srtp", "PCMA"),
    "linphone-dtls-tls": ("linphone", "tls", "dtls", "PCMA"),
    "sipp-udp": ("sipp", "udp", "none", "PCMU"),
    "sipp-tcp": ("sipp", "tcp", "none", "PCMU"),
}
TWICE = ("linphone-udp", "linphone-tcp")


def number_of(name: str) -> str:
    return f"55520175{list(CELLS).index(name):02}"


class Child:
    """PJSIP or baresip."""

    def __init__(self, street: Street, name: str) -> None:
        stack, way, keys, codec = CELLS[name]
        uri = street.uri(way.removesuffix("6"), "[::1]" if way.endswith("6") else "127.0.0.1")
        command = [sys.executable, str(HERE / "sound_child.py"), stack, uri, keys, codec, str(street.speech)]
        command += [str(street.root / f"{name}.wav"), "0", str(LONGEST), number_of(name)]
        command += [str(street.ca.file)] if way in ("tls", "tls6") else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def press(self, key: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{key}\n")
        self._process.stdin.flush()

    def gone(self) -> bool:
        """Whether we hung up; waits until it is over."""
        out, _ = self._process.communicate(timeout=LONGEST + 20)
        told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        return bool(told and told[-1].get("gone"))

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class Console:
    """linphone."""

    def __init__(self, street: Street, name: str) -> None:
        _, way, keys, codec = CELLS[name]
        (street.root / name).mkdir()
        self._it = Linphone(street.root / name, keys, number_of(name), street.ca if way == "tls" else None)
        self._uri, self._again, self._rang = street.uri(way, "localhost"), name in TWICE, False
        call = (self._uri, codec, street.speech, street.root / f"{name}.wav", "0", LONGEST)
        self._thread = threading.Thread(target=self._live, args=call)
        self._thread.start()

    def _live(self, *call: Any) -> None:
        self._it.call(*call)
        self._rang = self._again and self._it.ring_off(self._uri)
        self._it.tell("quit")

    def press(self, key: str) -> None:
        self._it.tell(key)

    def gone(self) -> bool:
        self._thread.join()
        return self._it.gone and self._rang == self._again

    def stop(self) -> None:
        self._it.stop()
        self._thread.join()


ENDED = """<recv request="BYE" timeout="30000"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""


def sipp_caller(
    folder: Path, number: str, port: int, way: str, media: int, address: str
) -> subprocess.Popen[bytes]:
    """SIPp as a caller who presses 0, speaks, presses #, and waits for our BYE; perhaps by way of a proxy."""
    sound = g711.encode(noise().astype("<i2").tobytes()[: 16_000 * 4], Codec.PCMU)
    timed = spoken(sound)
    pound = key_press("#", 101, 900, 80_000 + 4 * 8_000, 3)
    timed += [(14.1 + n * 0.02, pack(packet)) for n, packet in enumerate(pound)]
    file = pcap(folder / f"{number}.pcap", timed)
    text = SCENARIO.partition('<pause milliseconds="13500"/>')[0] + ENDED
    text = text.replace("PCAP", str(file)).replace("5552017300", number)
    text = text.replace('rtd="true"', 'rrs="true"')
    text = text.replace(
        "ACK sip:[service]@[remote_ip]:[remote_port] SIP/2.0", "ACK [next_url] SIP/2.0\n[routes]"
    )
    scenario = folder / f"{number}.xml"
    scenario.write_text(text)
    return subprocess.Popen(
        ["sipp", f"127.0.0.1:{port}", "-sf", str(scenario), "-s", DIALLED, "-m", "1", "-t", way[0] + "1", "-i", address,
         "-mi", address, "-p", str(free_port()), "-mp", str(media), "-timeout", "45", "-timeout_error", "-nostdin"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


class Script:
    """SIPp, with all its keys and words in a file that it plays; what is sent to it is read from beside it."""

    def __init__(self, street: Street, name: str) -> None:
        media = free_port()
        self._heard, self._ear = street.root / f"{name}.wav", Ear(media)
        way, port = CELLS[name][1], street.house.port
        self._process = sipp_caller(street.root, number_of(name), port, way, media, SIPP_ADDRESS)

    def press(self, key: str) -> None:
        """It is in the file."""

    def gone(self) -> bool:
        self._process.communicate(timeout=60)
        with wave.open(str(self._heard), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(g711.decode(self._ear.sound(), Codec.PCMU))
        return self._process.returncode == 0

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class Ear(threading.Thread):
    """All sound that comes to a port of SIPp's address, which drops it (raw(7))."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port, self._got = port, list[bytes]()
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._raw.bind((SIPP_ADDRESS, 0))
        self._raw.settimeout(1)
        self._over = False
        self.start()

    def run(self) -> None:
        while not self._over:
            with suppress(TimeoutError):
                packet = self._raw.recv(2048)
                if int.from_bytes(packet[22:24], "big") == self._port:
                    self._got.append(packet[28:])
        self._raw.close()

    def sound(self) -> bytes:
        self._over = True
        self.join()
        packets = [unpack(data) for data in self._got]
        return b"".join(packet.payload for packet in packets if packet.payload_type == 0)


KINDS: dict[str, Callable[[Street, str], Child | Console | Script]] = {
    "pjsip": Child, "baresip": Child, "linphone": Console, "sipp": Script,
}  # fmt: skip


def prepare(street: Street) -> None:
    """On IPv6 too, and with a line whose last words are short: no number, so no promise of a call from it."""
    house = street.house
    # Ports for sound of its own: what sieges of other phones shoot at is not to hit here.
    house.settings |= {"NIGHTBELL_SIP_BIND": "127.0.0.1, ::1", "NIGHTBELL_RTP_PORTS": "30000-31499"}
    house.lines[PRACTICE]["number"] = ""
    (house.folder / "snapshot.json").write_bytes(house.signed(2))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("matrix"))
    prepare(street)
    street.house.start()
    try:
        yield street
    finally:
        street.house.stop()


def long_enough(street: Street) -> set[str]:
    """Numbers of the callers of whom enough is sealed by now."""
    found = set()
    for path in street.house.spool.glob("*.part"):
        with suppress(FileNotFoundError):
            capture = open_capture(path.read_bytes(), street.house.private)
            if len(capture.packets) > LONG_ENOUGH * 50:
                found.add(capture.meta.caller)
    return found


@pytest.fixture(scope="module")
def gone(street: Street) -> dict[str, bool]:
    """All calls, nearly at once: by whether the caller says that we hung up."""
    callers: dict[str, Child | Console | Script] = {}
    try:
        for name, (stack, *_) in CELLS.items():
            callers[name] = KINDS[stack](street, name)
            time.sleep(0.2)
        waiting = {number_of(name): caller for name, caller in callers.items()}
        ends = time.monotonic() + 30
        while waiting and time.monotonic() < ends:
            for number in long_enough(street) & set(waiting):
                waiting.pop(number).press("#")
            time.sleep(0.3)
        return {name: caller.gone() for name, caller in callers.items()}
    finally:
        for caller in callers.values():
            caller.stop()


@pytest.fixture(scope="module")
def captures(street: Street, gone: dict[str, bool]) -> dict[str, list[Capture]]:
    ends = time.monotonic() + 5
    while list(street.house.spool.glob("*.part")) and time.monotonic() < ends:
        time.sleep(0.05)
    found = [open_capture(path.read_bytes(), street.house.private) for path in street.house.files("cap")]
    return {name: [one for one in found if one.meta.caller == number_of(name)] for name in CELLS}


def samples(sound: bytes, codec: Codec) -> Samples:
    return np.frombuffer(g711.decode(sound, codec), "<i2").astype(np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_a_call_by_this_way(
    street: Street, gone: dict[str, bool], captures: dict[str, list[Capture]], name: str
) -> None:
    assert captures[name], "it never came to a call"
    capture = captures[name][0]
    assert gone[name], "our BYE did not come"
    assert capture.end.reason is EndReason.POUND
    assert [digit.key for digit in capture.digits] == ["0", "#"]
    codec = capture.meta.codec
    assert codec == CELLS[name][3]
    said = samples(spoken_of(capture), codec)[2000 : 2000 + int(ENOUGH * 8000)]
    assert len(said) == ENOUGH * 8000
    assert alike(said, noise()) >= 0.99
    heard = of_file(street.root / f"{name}.wav")
    words = b"".join(voice.packaged("en/notice-recorded", codec))
    assert alike(samples(words, codec), heard) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("name", TWICE)
def test_it_rings_off_itself(captures: dict[str, list[Capture]], name: str) -> None:
    assert [one.end.reason for one in captures[name]] == [EndReason.POUND, EndReason.HANG_UP]
