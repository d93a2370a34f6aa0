"""What the operating system lets the phone do, tried by a process that locked itself in the same way."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.phone.house import House, running

import nightbell.phone

TRY = """
import json, os, socket, sys
from pathlib import Path
from nightbell.core import config
from nightbell.phone.main import lock_in, prepare

settings = config.load()
listener = socket.create_server(("127.0.0.1", 0))
prepare(settings)
abi = lock_in(settings)

def attempt(act):
    try:
        act()
        return "done"
    except OSError as error:
        return type(error).__name__

home, keys = settings.home, settings.keys
out = {"abi": abi, "environment": sorted(name for name in os.environ if name.startswith("NIGHTBELL"))}
out["key"] = attempt(lambda: (keys / "epoch").read_bytes())
out["keys"] = attempt(lambda: os.listdir(keys))
out["key by link"] = attempt(lambda: os.link(keys / "epoch", home / "phone" / "stolen"))
out["database"] = attempt(lambda: (home / "db" / "nightbell.sqlite3").read_bytes())
out["keyring"] = attempt(lambda: (home / "keyring" / "keyring.sqlite3").read_bytes())
out["blobs"] = attempt(lambda: os.listdir(home / "blobs"))
out["write outside"] = attempt(lambda: (home / "outbox" / "x").write_bytes(b"x"))
out["own memory dump"] = attempt(lambda: Path("/etc/shadow").read_bytes())
out["tcp out"] = attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
out["spool"] = attempt(lambda: (home / "phone" / "spool" / "x").write_bytes(b"x"))
out["clips"] = attempt(lambda: os.listdir(home / "phone" / "clips"))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out["udp"] = attempt(lambda: udp.bind(("127.0.0.1", 0)))
import resource
out["core"] = resource.getrlimit(resource.RLIMIT_CORE)
out["dumpable"] = __import__("ctypes").CDLL(None).prctl(3, 0, 0, 0, 0)
child = os.fork()
if child == 0:
    os._exit(0 if attempt(lambda: (keys / "epoch").read_bytes()) == "PermissionError" else 1)
out["child"] = os.waitpid(child, 0)[1]
print(json.dumps(out))
"""


def test_it_can_open_neither_keys_nor_database_nor_a_way_out(tmp_path: Path) -> None:
    house = House(tmp_path)
    for file in ("db/nightbell.sqlite3", "keyring/keyring.sqlite3", "blobs/x", "outbox/y"):
        (house.home / file).parent.mkdir(exist_ok=True)
        (house.home / file).write_bytes(b"secret")
    outside = socket.create_server(("127.0.0.1", 0))
    run = subprocess.run(
        [sys.executable, "-c", TRY, str(outside.getsockname()[1])],
        env=house.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    outside.close()
    assert run.returncode == 0, run.stderr
    out = json.loads(run.stdout)
    assert out.pop("abi") >= 4
    allowed = {"spool", "clips", "udp"}
    assert {name: out.pop(name) for name in sorted(allowed)} == dict.fromkeys(sorted(allowed), "done")
    assert out.pop("environment") == []
    assert out.pop("core") == [0, 0]
    assert out.pop("dumpable") == 0
    assert out.pop("child") == 0
    assert out.pop("key by link") == "OSError"  # EXDEV: Landlock's answer to a link across its border
    assert set(out.values()) == {"PermissionError"}, out
    assert len(out) == 8


@pytest.mark.slow
def test_the_running_phone_is_locked_in(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        assert house.wait_for_log("phone_ready")["kind"].startswith("landlock-")
        assert house.process is not None
        threads = list(Path(f"/proc/{house.process.pid}/task").iterdir())
        assert len(threads) >= 3  # the lock-in came before they were started, so that it holds for each
        for thread in threads:
            assert "NoNewPrivs:\t1" in (thread / "status").read_text()


def test_it_cannot_open_its_own_older_captures() -> None:
    """There is nothing to lock away: no module of the process holds or takes a private key."""
    for source in Path(nightbell.phone.__path__[0]).glob("*.py"):
        assert not re.search(r"\b(open_key|open_capture|recover|new_epoch)\b", source.read_text()), (
            source.name
        )
