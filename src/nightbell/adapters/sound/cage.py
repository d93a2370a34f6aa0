"""Runs a program on foreign bytes: without network, files to write, environment, or much time.

The bytes lie in an anonymous memory file that is the program's standard input, so it can seek in them.
As a program, `python -m nightbell.adapters.sound.cage SECONDS FOLDER PROGRAM ARGUMENTS…` locks itself in and
becomes PROGRAM.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from nightbell.core import sandbox
from nightbell.core.errors import RefusedStart

MEMORY = 1 << 30  # bytes of address space
REFUSED = 77  # exit codes of sysexits.h. EX_NOPERM: the cage could not be closed
BROKEN = 78  # EX_CONFIG: what the program needs is not installed
_PYTHON = (sys.executable, "-I", "-B", "-m")
_ENVIRONMENT = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}


class End(StrEnum):
    """How a caged program ended without an answer."""

    TIMEOUT = "timeout"
    TOO_MUCH = "too much"
    FAILED = "failed"
    REFUSED = "refused"
    BROKEN = "broken"


class Ended(Exception):
    """No answer. `how` says why."""

    def __init__(self, how: End) -> None:
        self.how = how
        super().__init__(how.value)


def run_module(module: str, arguments: Sequence[str], data: bytes, *, seconds: float, most: int) -> bytes:
    """What `module` prints. It must call `confine` itself before it touches its input. As `run`."""
    return _run([*_PYTHON, module, *arguments], data, seconds, most)


def run(program: Path, arguments: Sequence[str], data: bytes, *, seconds: float, most: int) -> bytes:
    """What `program` prints when given `data`: at most `most` bytes, within `seconds`.

    Raises Ended, and OSError when no process can be started.
    """
    limits = [str(max(1, round(seconds))), str(program.resolve().parent)]
    command = [*_PYTHON, "nightbell.adapters.sound.cage", *limits, str(program), *arguments]
    return _run(command, data, seconds, most)


def _run(command: Sequence[str], data: bytes, seconds: float, most: int) -> bytes:
    with os.fdopen(os.memfd_create("sound"), "w+b") as source:
        source.write(data)
        source.seek(0)
        child = subprocess.Popen(
            command,
            cwd="/",
            env=_ENVIRONMENT,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return _answer(child, seconds, most)


def _answer(child: subprocess.Popen[bytes], seconds: float, most: int) -> bytes:
    """Read to the end. Whoever is late or says too much is killed with all of its session."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill(child)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        with child:
            assert child.stdout is not None  # noqa: S101 - we asked for the pipe
            answer = child.stdout.read(most + 1)
            if len(answer) > most:
                _kill(child)
    finally:
        timer.cancel()
    if late.is_set():
        raise Ended(End.TIMEOUT)
    if len(answer) > most:
        raise Ended(End.TOO_MUCH)
    if child.returncode:
        raise Ended({REFUSED: End.REFUSED, BROKEN: End.BROKEN}.get(child.returncode, End.FAILED))
    return answer


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def confine(seconds: int, folders: Sequence[Path] = (), *, threads: bool = False) -> None:
    """Lock this process in, for good. `folders` may be read. Raises RefusedStart where the system cannot."""
    sandbox.follow_parent(signal.SIGKILL)
    os.nice(10)
    sandbox.hide_memory()
    limits = [(resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, 0)]
    if not threads:
        limits.append((resource.RLIMIT_NPROC, 0))
    for limit, value in limits:
        resource.setrlimit(limit, (value, value))
    sandbox.restrict_files(read=[*sandbox.system_paths(), *folders], write=[], forbid_tcp=True)
    if not sandbox.forbid_sockets() and not sandbox.leave_network():
        raise RefusedStart(
            "the sandbox for sound files",
            "this system allows neither a network namespace nor a seccomp filter",
            "allow unprivileged user namespaces or seccomp for the service",
        )


def main(arguments: list[str]) -> NoReturn:
    """Lock this process in and become the program."""
    seconds, folder, program, *rest = arguments
    try:
        confine(int(seconds), [Path(folder)], threads=True)
    except RefusedStart:
        sys.exit(REFUSED)
    os.execv(program, [program, *rest])  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
