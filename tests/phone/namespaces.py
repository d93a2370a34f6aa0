"""Run by test_networks: a phone in one network namespace, somebody else in another, a cable between them. Needs root.

Prints a JSON object of what each heard.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

from nightbell.core.log import Log
from nightbell.core.sandbox import leave_network
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.policy import Policy
from nightbell.sip.trunk import Kind, Trunk

HERE, THERE = "10.77.0.1", "10.77.0.2"
CARRIER = Trunk("01A", "t", Kind.ADDRESS, sources=(THERE, "fd77::2"), transport="udp", plain=True)
OPTIONS = (
    "OPTIONS sip:a@h SIP/2.0\r\nVia: SIP/2.0/{way} h;branch=z9hG4bK{n};rport\r\nFrom: <sip:b@h>;tag=1\r\n"
    "To: <sip:a@h>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def ask(host: str, port: int, way: str, number: int) -> str:
    """What an OPTIONS is answered: a status line, 'silence', or 'closed'."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if way == "UDP" else socket.SOCK_STREAM) as sock:
        sock.settimeout(0.3 if way == "UDP" else 2)
        try:
            sock.connect((host, port))
            sock.send(OPTIONS.format(way=way, n=number).encode())
            return sock.recv(4096).split(b"\r\n")[0].decode() or "closed"
        except TimeoutError:
            return "silence"
        except ConnectionError:
            return "closed"


def away(orders: int, answers: int) -> None:
    """The other namespace: obeys one line at a time."""
    assert leave_network()
    os.write(answers, b"there\n")
    with os.fdopen(orders) as lines:
        for line in lines:
            words = line.split()
            if words[0] == "up":
                ip("link", "set", "vb", "up")
                ip("address", "add", f"{THERE}/24", "dev", "vb")
                ip("address", "add", "fd77::2/64", "dev", "vb", "nodad")
                os.write(answers, b"up\n")
            else:
                os.write(answers, (ask(words[0], int(words[1]), words[2], int(words[3])) + "\n").encode())


class Other:
    """Somebody at the other end of the cable."""

    def __init__(self) -> None:
        orders, self._orders = os.pipe()
        answers, there = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._orders)
            try:
                away(orders, there)
            finally:
                os._exit(0)
        os.close(orders)
        self._answers = os.fdopen(answers)
        assert self._answers.readline() == "there\n"

    def tell(self, line: str) -> str:
        os.write(self._orders, f"{line}\n".encode())
        return self._answers.readline().strip()


async def story(other: Other) -> dict[str, object]:
    ip("link", "set", "lo", "up")
    ip("link", "add", "va", "type", "veth", "peer", "name", "vb")
    ip("link", "set", "vb", "netns", str(other.pid))
    ip("link", "set", "va", "up")
    ip("address", "add", f"{HERE}/24", "dev", "va")
    ip("address", "add", "fd77::1/64", "dev", "va", "nodad")
    other.tell("up")
    endpoint = Endpoint(("0.0.0.0", "::"), 0, print, Log("test", io.StringIO()))
    await endpoint.start()
    heard: dict[str, object] = {}
    number = 0
    plain, strict = CARRIER, replace(CARRIER, transport="tls", plain=False)
    for name, policy in (("none", Policy()), ("plain", Policy([plain])), ("strict", Policy([strict]))):
        endpoint.take_policy(policy)
        for host in (HERE, "fd77::1"):
            for way in ("UDP", "TCP"):
                number += 1
                line = f"{host} {endpoint.port} {way} {number}"
                heard[f"{name} {host} {way}"] = await asyncio.to_thread(other.tell, line)
    endpoint.take_policy(Policy())
    for host in (HERE, "fd77::1"):
        heard[f"own {host}"] = await asyncio.to_thread(ask, host, endpoint.port, "UDP", number + len(host))
    heard["strangers"] = endpoint.counters["strangers"]
    await endpoint.close()
    return heard


if __name__ == "__main__":
    somebody = Other()
    assert leave_network()
    print(json.dumps(asyncio.run(story(somebody))))
    sys.stdout.flush()
