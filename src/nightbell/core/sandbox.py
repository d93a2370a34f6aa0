"""Locks a process in: Landlock for files and TCP, a network namespace of its own, a clean environment.

Landlock: Linux uapi/linux/landlock.h, system calls 444 to 446 (x86-64 and arm64 share the numbers).
No root is needed. Rules bind this process and all its children, and cannot be taken back.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from nightbell.core.errors import RefusedStart

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER, _IO_URING_SETUP = 2, 425
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_ALL_BY_ABI = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TCP_BIND, _TCP_CONNECT = 1, 2
_RULE_FILE, _RULE_PORT = 1, 2


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where there is none."""
    return max(0, int(_LIBC.syscall(_CREATE, None, 0, 1)))


def restrict_files(
    read: Iterable[Path], write: Iterable[Path], forbid_tcp: bool = False, tcp_ports: Iterable[int] = ()
) -> int:
    """From now on this thread's process reads only below `read` and writes only below `write`.

    forbid_tcp: no connection is opened but to `tcp_ports`, and no port is bound (from ABI 4 on). Sockets that are bound
    already stay as they are.

    Call before any other thread starts. Returns the ABI used. Paths that do not exist are skipped.
    Raises RefusedStart where the kernel has no Landlock.
    """
    abi = landlock_abi()
    if abi == 0:
        raise RefusedStart(
            "the phone's sandbox",
            "this kernel has no Landlock",
            "use Linux 5.13 or newer with landlock in its LSM list",
        )
    handled = _ALL_BY_ABI[min(abi, 5)]
    network = _TCP_BIND | _TCP_CONNECT if forbid_tcp and abi >= 4 else 0
    ruleset = _ruleset(abi, handled, network)
    try:
        for path in read:
            _allow(ruleset, path, _READ & handled)
        for path in write:
            _allow(ruleset, path, handled)
        if network:
            _allow_ports(ruleset, set(tcp_ports))
        _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if _LIBC.syscall(_RESTRICT, ruleset, 0):
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return abi


def _ruleset(abi: int, handled: int, network: int) -> int:
    """A new set of rules, as a file descriptor. handled, network: what is forbidden unless a rule allows it."""
    attributes = struct.pack("=QQ", handled, network) if abi >= 4 else struct.pack("=Q", handled)
    ruleset = int(_LIBC.syscall(_CREATE, attributes, len(attributes), 0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    return ruleset


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            access &= _EXECUTE | _WRITE_FILE | _READ_FILE
        if _LIBC.syscall(_ADD, ruleset, _RULE_FILE, struct.pack("=Qi", access, handle), 0):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
    finally:
        os.close(handle)


def _allow_ports(ruleset: int, ports: set[int]) -> None:
    """Connections to these. Whoever connects may choose from which own address: that is a bind to port 0."""
    rules = [(port, _TCP_CONNECT) for port in sorted(ports)]
    for port, access in rules + ([(0, _TCP_BIND)] if ports else []):
        if _LIBC.syscall(_ADD, ruleset, _RULE_PORT, struct.pack("=QQ", access, port), 0):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule port {port}")


def leave_network() -> bool:
    """Move into an empty network namespace. False where the kernel forbids it (then use Landlock's TCP rule)."""
    if _LIBC.unshare(_CLONE_NEWNET) == 0:
        return True
    return int(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)) == 0


def forbid_sockets() -> bool:
    """From now on this process opens no socket of any kind, UNIX sockets included (they ask neither
    Landlock nor a network namespace), and no io_uring, which would go around the filter.

    seccomp filter, Linux uapi/linux/seccomp.h and filter.h. Call before any other thread starts.
    False on an unknown machine type or where the kernel refuses.
    """
    known = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}.get(os.uname().machine)
    if known is None:
        return False
    arch, socket_call = known
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06  # BPF: LD|W|ABS, JEQ|K, JGE|K, RET|K
    deny, allow = 0x00050000 | errno.EPERM, 0x7FFF0000
    program = [
        (load, 0, 0, 4),  # the architecture
        (equal, 0, 4, arch),
        (load, 0, 0, 0),  # the system call's number
        (at_least, 2, 0, 0x40000000),  # the x32 table repeats every call under other numbers
        (equal, 1, 0, socket_call),
        (equal, 0, 1, _IO_URING_SETUP),
        (give, 0, 0, deny),
        (give, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return int(_LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0)) == 0


def follow_parent(number: int, parent: int | None = None) -> None:
    """When the thread that started this process dies, the kernel sends us signal `number`: no orphans.

    parent: its process; when it is dead already, the signal comes now. prctl(2), PR_SET_PDEATHSIG. Survives exec, not fork.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def hide_memory() -> None:
    """No core dump and no debugger of the same user may read this process's memory."""
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def system_paths() -> list[Path]:
    """What any Python process must read: the interpreter, its libraries, this package, and the system's own.

    `/proc/self` is the calling process: a child started later cannot read its own.
    """
    import sys

    paths = {
        Path(p)
        for p in (
            "/usr",
            "/lib",
            "/lib64",
            "/etc/ssl",
            "/etc/localtime",
            "/etc/ld.so.cache",
            "/dev/null",
            "/dev/urandom",
            "/dev/zero",
            "/proc/self",  # its own only: the environment of another process may hold secrets
            "/proc/cpuinfo",
            "/proc/meminfo",
            "/proc/stat",
            "/proc/sys/vm/overcommit_memory",
            "/sys/devices/system/cpu",
        )
    }
    paths |= {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, sys.executable)}
    paths.add(Path(__file__).resolve().parents[2])  # the package's folder is looked up in it
    return sorted(paths)


def scrubbed(environ: Mapping[str, str], keep: Iterable[str]) -> dict[str, str]:
    """An environment with only what `keep` names, for a child that must not inherit secrets."""
    names = {"PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "OPENBLAS_CORETYPE", *keep}
    return {name: value for name, value in environ.items() if name in names}
