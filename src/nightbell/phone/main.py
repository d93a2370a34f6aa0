"""Starts the phone process: settings, a clean environment, the lock-in, then calls.

It needs, below NIGHTBELL_HOME/phone: trust.pub (the key that signs snapshots), snapshot.json, clips/ and
spool/. Nothing else of the home, no key and no database can be opened by it: Landlock sees to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from pathlib import Path

from nightbell.core import config as settings
from nightbell.core import sandbox
from nightbell.core.config import Config
from nightbell.core.errors import NightbellError, RefusedStart
from nightbell.core.log import Log
from nightbell.phone import voice
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.media import Media
from nightbell.phone.service import Phone
from nightbell.phone.snapshot import Holder

_PR_SET_DUMPABLE = 4
PRIORITY = -10


def phone_folder(config: Config) -> Path:
    """Everything of the home that the phone may see."""
    return config.spool.parent


def prepare(config: Config) -> Path:
    """Make the folders, forget the environment, forbid core dumps (they would hold audio).

    Raises RefusedStart.
    """
    os.umask(0o077)
    folder = phone_folder(config)
    try:
        for path in (folder / "spool", folder / "clips"):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{folder} cannot be made ({error.strerror})"
        raise RefusedStart("NIGHTBELL_HOME", why, "give it to the user that runs the phone") from error
    clean = sandbox.scrubbed(os.environ, ())
    os.environ.clear()
    os.environ.update(clean)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a call holds a socket and a file
    with contextlib.suppress(
        OSError
    ):  # sound waits for nobody: before speech recognition and pages, where we may
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return folder


def lock_in(config: Config) -> int:
    """From now on: files of the phone's own folder and of the system only, no new TCP. Call it before threads.

    Returns Landlock's ABI, 0 where a user of its own does the same. Raises RefusedStart where neither holds.
    """
    folder = phone_folder(config)
    try:
        return sandbox.restrict_files([*sandbox.system_paths(), folder], [folder], forbid_tcp=True)
    except RefusedStart:
        if _of_its_own(config):
            return 0
        raise


def _of_its_own(config: Config) -> bool:
    """Whether the operating system already keeps this user away from keys that are there."""
    return os.geteuid() != 0 and config.keys.exists() and not os.access(config.keys, os.R_OK)


async def run(config: Config, log: Log) -> None:
    """Take calls until SIGTERM or a drain command, then end them in good order."""
    folder = phone_folder(config)
    loop = asyncio.get_running_loop()
    holder = Holder(folder)
    voice.warm()
    media = Media(config.bind, config.rtp_ports, loop.call_soon_threadsafe)
    phone = Phone(folder, holder, media, config.control_socket, log)
    endpoint = Endpoint(config.bind, config.sip_port, phone.on_call, log)
    await endpoint.start()
    phone.attach(endpoint)
    abi = lock_in(config)  # after the ports are bound, before the first thread and the first datagram
    phone.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, phone.asked_to_stop)
    control = asyncio.create_task(phone.control.run())
    gc.collect()
    gc.freeze()  # the prompts' frames need no looking through while calls run
    log(
        "phone_ready",
        port=endpoint.port,
        version=holder.current.version,
        kind=f"landlock-{abi}",
        pid=os.getpid(),
    )
    await phone.draining.wait()
    await phone.drain(holder.current.limits.drain_seconds)
    control.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await control
    await endpoint.close()
    phone.close()
    log("phone_stopped")


def main() -> int:
    """Exit codes: 0 stopped as told, 1 refused or failed."""
    log = Log("phone")
    try:
        config = settings.load()
        prepare(config)
        asyncio.run(run(config, log))
    except NightbellError as error:
        print(f"nightbell phone: {error}", file=sys.stderr)
        return 1
    return 0
