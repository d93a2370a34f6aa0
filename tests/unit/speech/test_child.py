"""The child's cage holds: it is let loose inside and tries to get out."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

_TRIES = """
import ctypes, json, os, socket, subprocess, sys
from pathlib import Path
from nightbell.adapters.speech.child import confine
secret, folder, port, unix = sys.argv[1:]
inherited = socket.socket() if {inherit} else None
confine(Path(folder))
def tried(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"
libc = ctypes.CDLL(None, use_errno=True)
print(json.dumps({{
    "connect": tried(lambda: (inherited or socket.socket()).connect(("127.0.0.1", int(port)))),
    "udp": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9))),
    "unix": tried(lambda: socket.socket(socket.AF_UNIX).connect(unix)),
    "read": tried(lambda: open(secret).read()),
    "write": tried(lambda: open(os.path.join(folder, "out"), "w")),
    "tmp": tried(lambda: open("/tmp/nightbell-child-was-here", "w")),
    "parent": tried(lambda: open(f"/proc/{{os.getppid()}}/environ").read()),
    "io_uring": libc.syscall(425, 1, None) < 0 and ctypes.get_errno(),
    "model": tried(lambda: open(os.path.join(folder, "config.json")).read()),
    "nice": os.nice(0) >= 15,
}}))
"""


@pytest.fixture
def escape(tmp_path: Path) -> dict[str, object]:
    return _run(tmp_path, inherit=False)


def _run(tmp_path: Path, inherit: bool) -> dict[str, object]:
    model, secret = tmp_path / "model", tmp_path / "secret"
    model.mkdir()
    (model / "config.json").write_text("{}")
    secret.write_text("a caller's words")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "control.sock"))
        local.listen()
        port = server.getsockname()[1]
        command = [sys.executable, "-c", _TRIES.format(inherit=inherit)]
        arguments = [str(secret), str(model), str(port), str(tmp_path / "control.sock")]
        done = subprocess.run(command + arguments, capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("way", ["connect", "udp", "unix", "read", "write", "tmp", "parent"])
def test_it_cannot_get_out(escape: dict[str, object], way: str) -> None:
    assert escape[way] == "PermissionError"


def test_it_cannot_go_round_the_filter_by_io_uring(escape: dict[str, object]) -> None:
    assert escape["io_uring"] == 1


def test_it_can_read_its_model_and_lets_others_go_first(escape: dict[str, object]) -> None:
    assert escape["model"] == "done"
    assert escape["nice"] is True


def test_it_cannot_connect_even_with_a_socket_that_it_already_had(tmp_path: Path) -> None:
    assert _run(tmp_path, inherit=True)["connect"] == "PermissionError"


def test_it_never_loads_the_modules_that_are_left_out() -> None:
    program = (
        "import sys; from nightbell.adapters.speech import child; child.stand_in()\n"
        "import faster_whisper\n"
        "assert not hasattr(sys.modules['av'], '__file__'); assert not hasattr(sys.modules['av'], 'open')\n"
        "assert 'onnxruntime' not in sys.modules; assert 'httpx' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
