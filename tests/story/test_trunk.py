"""A trunk from the command line to a registered carrier: sealed password, first realm, HA1 on the phone, another realm."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.phone.registrar import PASSWORD, REALM, USER, Registrar, registrar
from tests.stack import Stack, running, wait_for


@pytest.fixture
def carrier() -> Iterator[Registrar]:
    """A registrar in a thread of its own."""
    made: list[Registrar] = []
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with registrar() as it:
            made.append(it)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield made[0]
    over.set()
    thread.join(10)


def test_a_trunk_registers_and_its_password_is_nowhere(tmp_path: Path, carrier: Registrar) -> None:
    with running(tmp_path, NIGHTBELL_MODELS=str(tmp_path / "no-models")) as stack:  # nobody speaks here
        made = _add(stack, carrier)
        wait_for("health to know it", lambda: _stored(stack), 20)
        assert "nobody accepted that risk" in _status(stack)["says"]
        assert carrier.seen == []
        stack.command(
            "trunk", "accept-risk", "Carrier", "--why", "The carrier of a test stands on this machine."
        )
        wait_for("a registration", lambda: USER in carrier.bound, 30)
        wait_for("health to say so", lambda: _phone(stack, made).get("state") == "registered", 20)
        status = _status(stack)
        assert (status["ok"], status["trunks"][0]["realm"], status["trunks"][0]["id"]) == (True, REALM, made)
        _nowhere(stack)
        before = len(carrier.got("REGISTER"))
        (stack.home / "run" / "trunk-asked").write_text(made)
        wait_for("a question out of turn", lambda: len(carrier.got("REGISTER")) > before, 20)
        carrier.realm, carrier.nonce = "evil.example", "n2"
        (stack.home / "run" / "trunk-asked").write_text(made)
        wait_for("the other realm", lambda: _phone(stack, made).get("realm") == "evil.example", 30)
        assert "another realm" in _status(stack)["says"]
        assert all("evil" not in one.get("authorization") for one in carrier.got("REGISTER"))
        stack.command("trunk", "withdraw-risk", "Carrier")
        wait_for("its end", lambda: _stored(stack)[0]["left_out"] == "risk" and not _phone(stack, made), 20)


def _health(stack: Stack) -> dict[str, Any]:
    return dict(json.loads((stack.home / "run" / "health.json").read_text()))


def _stored(stack: Stack) -> list[dict[str, Any]]:
    """What the worker tells of trunks."""
    return _health(stack).get("trunks") or []


def _phone(stack: Stack, trunk: str) -> dict[str, Any]:
    """What the phone tells of one."""
    return dict(_health(stack)["phones"][0].get("trunks", {}).get(trunk, {}))


def _add(stack: Stack, carrier: Registrar) -> str:
    words = (
        "trunk", "add", "--name", "Carrier", "--kind", "register", "--domain", REALM, "--proxy",
        f"127.0.0.1:{carrier.port}", "--user", USER, "--transport", "udp", "--password-stdin",
    )  # fmt: skip
    done = subprocess.run(
        stack.line(*words), env=stack.environment, cwd=stack.root, input=PASSWORD + "\n", capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


def _status(stack: Stack) -> dict[str, Any]:
    return dict(json.loads(stack.command("trunk", "status", "--json", check=False).stdout))


def _nowhere(stack: Stack) -> None:
    """The words of the password are in no file of the installation, logs included."""
    for path in [*stack.home.rglob("*"), *stack.keys.rglob("*"), stack.log]:
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
