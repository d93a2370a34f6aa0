"""linphone's console as a caller with a voice, told what to do line by line. It has no sound card: files instead."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from tests.phone.certs import Authority
from tests.ports import free_port

OVER = " ended ("


class Linphone:
    """One process. `call` blocks for as long as the call lasts; `gone`: the other side hung up."""

    def __init__(self, folder: Path, encryption: str, number: str, ca: Authority | None = None) -> None:
        """encryption: none, srtp, dtls, and mandatory; number: its own; ca: whom to trust for TLS. Asked for a
        certificate, it asks its user for one's password unless it has one: so it has one."""
        self.folder, self.gone = folder, False
        (folder / ".local/share/linphone").mkdir(parents=True)
        (folder / ".linphone-usr-crt").mkdir()
        port = free_port()
        trust = ""
        if ca is not None:
            mine = ca.issue("linphone.example")
            trust = f"root_ca={ca.file}\nverify_server_certs=1\n"
            trust += f"client_cert_chain={mine.certificate}\nclient_cert_key={mine.key}\n"
        (folder / "linphonerc").write_text(
            f"[sip]\nsip_port={port}\nsip_tcp_port={port}\nsip_tls_port={port + 1 if ca else 0}\nuse_ipv6=0\n"
            f"register_only_when_network_is_up=0\nmedia_encryption={encryption}\n{trust}"
            f"media_encryption_mandatory={int(encryption != 'none')}\ncontact=sip:{number}@127.0.0.1:{port}\n"
            "guess_hostname=0\nuse_info=0\nuse_rfc2833=1\n[rtp]\naudio_rtp_port=0\naudio_adaptive_jitt_comp_enabled=0\n"
        )
        self.out = folder / "out"
        with self.out.open("w") as out:
            self._process = subprocess.Popen(
                ["linphonec", "-c", str(folder / "linphonerc")],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, "HOME": str(folder)},
            )  # fmt: skip

    def tell(self, command: str, seconds: float = 0.05) -> None:
        if self._process.stdin is None:
            raise AssertionError("it does not listen")
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        time.sleep(seconds)

    def wait_for(self, text: str, seconds: float = 10.0, times: int = 1) -> bool:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if self.out.read_text().count(text) >= times:
                return True
            time.sleep(0.05)
        return False

    def call(self, uri: str, codec: str, speak: Path, heard: Path, key: str, seconds: float) -> bool:
        """Call, press the key, speak, hang up after so long. Whether sound was agreed on."""
        self.wait_for("linphonec>")
        self.tell("codec list", 0.3)
        listed = re.findall(r"(\d+): *([\w-]+) \((\d+)\)", self.out.read_text())
        for number, name, _rate in listed:
            self.tell(f"codec {'enable' if name == codec else 'disable'} {number}", 0.01)
        self.tell("soundcard use files", 0.2)
        self.tell(f"record {heard}", 0.2)
        self.tell(f"call {uri}")
        if not self.wait_for("Media streams established"):
            return False
        began = time.monotonic()
        time.sleep(1.5)
        self.tell(key, 0.5)
        self.tell(f"play {speak}")
        self.gone = self.wait_for(OVER, seconds - (time.monotonic() - began))
        if not self.gone:
            self.tell("terminate", 0.5)
        return True

    def ring_off(self, uri: str) -> bool:
        """Call once more and hang up as soon as there is sound. Whether there was."""
        before = self.out.read_text().count("Media streams established")
        self.tell(f"call {uri}")
        there = self.wait_for("Media streams established", 10.0, before + 1)
        self.tell("terminate", 0.5)
        return there

    def stop(self) -> None:
        try:
            self.tell("quit", 0.1)
            self._process.wait(3)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
