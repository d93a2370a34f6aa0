"""Risk no. 1, encrypted: real telephones against the real phone process, with keys by SDES and by DTLS-SRTP.

Every call presses a key, speaks over the tone, and keeps what it hears. PJSIP as packaged for Python is built without
DTLS-SRTP (asked for it, it offers plain RTP/AVP, which is refused where encryption is demanded).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.interop.linphone import Linphone
from tests.phone.certs import Authority
from tests.phone.house import DIALLED, House, spoken_of, write_wav
from tests.sound import Samples, alike

from nightbell.core.capture import Capture
from nightbell.phone import voice
from nightbell.sealing.capture import open_capture
from nightbell.sip import g711

HERE = Path(__file__).parent
SECONDS = 19.0  # of each call: the tone comes after some nine, later where a handshake comes first
ENOUGH = 2.0  # seconds of the message that are compared
# name: stack, way, keys, codec
CALLS = {
    "pjsip-sdes-tls": ("pjsip", "tls", "sdes", "PCMU"),
    "pjsip-sdes-udp": ("pjsip", "udp", "sdes", "PCMA"),
    "baresip-sdes-tls": ("baresip", "tls", "sdes", "PCMU"),
    "baresip-sdes-udp": ("baresip", "udp", "sdes", "PCMU"),
    "baresip-dtls-tls": ("baresip", "tls", "dtls", "PCMU"),
    "baresip-dtls-udp": ("baresip", "udp", "dtls", "PCMA"),
    "linphone-srtp-tls": ("linphone", "tls", "srtp", "PCMU"),
    "linphone-dtls-tls": ("linphone", "tls", "dtls", "PCMU"),
    "linphone-dtls-udp": ("linphone", "udp", "dtls", "PCMA"),
}


def number_of(name: str) -> str:
    """Of the caller: by it the captures are told apart."""
    return f"55520174{list(CALLS).index(name):02}"


def noise() -> Samples:
    """Twenty-five seconds that no two moments of which are alike, within what a telephone carries."""
    sound = np.random.default_rng(4).normal(0, 5000, 25 * 8000)
    return np.asarray(np.convolve(sound, np.ones(4) / 4, "same"))


def of_file(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
        return data[:: file.getnchannels() * file.getframerate() // 8000]


@dataclass
class Made:
    """One call as the caller and as the phone had it."""

    heard: Samples
    capture: Capture | None


class Street:
    """The phone with TLS, and whoever calls it."""

    def __init__(self, root: Path) -> None:
        self.house, self.root = House(root), root
        self.ca = Authority(root)
        pair = self.ca.issue("127.0.0.1", "::1", "localhost")
        own = self.house.folder / "tls"
        own.mkdir()
        pair.certificate.rename(own / "sip.pem")
        pair.key.rename(own / "sip.key")
        self.speech = root / "speech.wav"
        with wave.open(str(self.speech), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(noise().astype("<i2").tobytes())

    def uri(self, way: str, host: str = "127.0.0.1") -> str:
        port = self.house.port + 1 if way == "tls" else self.house.port
        return f"sip:{DIALLED}@{host}:{port}" + (f";transport={way}" if way != "udp" else "")

    def call(self, name: str) -> None:
        stack, way, keys, codec = CALLS[name]
        heard = self.root / f"{name}.wav"
        if stack == "linphone":
            folder = self.root / name
            folder.mkdir()
            caller = Linphone(folder, keys, number_of(name), self.ca if way == "tls" else None)
            try:
                # It knows certificates of names alone.
                caller.call(self.uri(way, "localhost"), codec, self.speech, heard, "0", SECONDS)
            finally:
                caller.stop()
            return
        more = [str(self.ca.file)] if way == "tls" else []
        command = [sys.executable, str(HERE / "sound_child.py"), stack, self.uri(way), keys, codec]
        command += [str(self.speech), str(heard), "0", str(SECONDS), number_of(name), *more]
        subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("encrypted"))
    street.house.start()
    try:
        yield street
    finally:
        if street.house.process is not None:
            street.house.process.kill()
            street.house.process.wait()


@pytest.fixture(scope="module")
def made(street: Street) -> dict[str, Made]:
    """All calls at once, or nearly: they all take their time to begin."""
    callers = [threading.Thread(target=street.call, args=(name,)) for name in CALLS]
    for thread in callers:
        thread.start()
        time.sleep(0.3)
    for thread in callers:
        thread.join(60)
    ends = time.monotonic() + 5
    while list(street.house.spool.glob("*.part")) and time.monotonic() < ends:
        time.sleep(0.05)
    found = [open_capture(path.read_bytes(), street.house.private) for path in street.house.files("cap")]
    captures = {capture.meta.caller: capture for capture in found}
    return {
        name: Made(
            of_file(street.root / f"{name}.wav") if (street.root / f"{name}.wav").exists() else np.zeros(1),
            captures.get(number_of(name)),
        )
        for name in CALLS
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_what_is_spoken_is_recorded_and_what_is_played_is_heard(made: dict[str, Made], name: str) -> None:
    call = made[name]
    assert call.capture is not None, "it never came to a call"
    assert [digit.key for digit in call.capture.digits] == ["0"]
    codec = call.capture.meta.codec
    assert codec == CALLS[name][3]
    said = np.frombuffer(g711.decode(spoken_of(call.capture), codec), "<i2").astype(np.float64)
    said = said[2000 : 2000 + int(ENOUGH * 8000)]
    assert len(said) == ENOUGH * 8000
    assert alike(said, noise()) >= 0.99
    # What follows the key is heard to its end.
    clips = (*voice.packaged("en/notice-recorded", codec), *voice.packaged("en/emergency-911", codec))
    played = b"".join(clips)
    wanted = np.frombuffer(g711.decode(played, codec), "<i2").astype(np.float64)
    assert alike(wanted, call.heard[: 16 * 8000]) >= 0.99


@pytest.mark.slow
def test_our_own_caller_over_tls(street: Street) -> None:
    """`nightbell call`: what TLS carries is encrypted by itself, an authority that nobody named is not believed."""
    address = street.uri("tls").partition(";")[0]
    trust = ("--ca", str(street.ca.file), "--speak-after", "1")
    told = {
        "sdes": (address.replace("sip:", "sips:"), *trust, "--codec", "G722"),
        "dtls": (address + ";transport=tls", *trust, "--srtp", "dtls", "--codec", "opus"),
        "none": (address, *trust, "--transport", "tls", "--srtp", "none"),
        "refused": (address.replace("sip:", "sips:"), "--timeout", "5"),
    }
    short = write_wav(street.root / "short.wav", b"\xff" * 8000)
    command = [sys.executable, "-m", "nightbell.phone.caller", "--wav", str(short), "--json"]
    callers = {
        name: subprocess.Popen(
            [*command, *options], env=street.house.environment(), text=True, stdout=subprocess.PIPE
        )
        for name, options in told.items()
    }
    reports = {name: json.loads(caller.communicate(timeout=30)[0]) for name, caller in callers.items()}
    assert {name: report["srtp"] for name, report in reports.items() if report["answered"]} == {
        "sdes": "sdes",
        "dtls": "dtls",
        "none": "none",
    }
    assert [reports[name]["profile"] for name in ("sdes", "dtls", "none")] == ["AEAD_AES_256_GCM"] * 2 + [""]
    assert [reports[name]["codec"] for name in ("sdes", "dtls")] == ["G722", "opus"]
    assert {name: callers[name].returncode for name in told} == {
        "sdes": 0,
        "dtls": 0,
        "none": 0,
        "refused": 1,
    }
    assert all(report["packets_received"] > 20 for name, report in reports.items() if name != "refused")
