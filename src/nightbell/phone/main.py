"""Starts the phone process: settings, a clean environment, the lock-in, then calls.

It needs, below NIGHTBELL_HOME/phone: trust.pub (the key that signs snapshots), snapshot.json, clips/ and
spool/. Nothing else of the home, no key and no database can be opened by it: Landlock sees to that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nightbell.core import config as settings
from nightbell.core import sandbox
from nightbell.core.config import Config
from nightbell.core.errors import NightbellError, RefusedStart
from nightbell.core.log import Log
from nightbell.phone import encode, heap, voice
from nightbell.phone.certificates import Certificates
from nightbell.phone.desk import Desk
from nightbell.phone.doorkeeper import Doorkeeper
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.engine import Engine, Works
from nightbell.phone.media import Media
from nightbell.phone.outbound import Dialler
from nightbell.phone.recorder import Recorder
from nightbell.phone.resolve import Resolver, trunk_targets
from nightbell.phone.service import Phone
from nightbell.phone.snapshot import Holder, Snapshot
from nightbell.phone.spread import Spread
from nightbell.phone.trunks import Trunks

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


def lock_in(config: Config, ports: Collection[int] = (), read: Collection[Path] = ()) -> int:
    """From now on: files of the phone's own folder, of `read` and of the system only, TCP to `ports` only. Call it before
    threads.

    Returns Landlock's ABI, 0 where a user of its own does the same. Raises RefusedStart where neither holds.
    """
    folder = phone_folder(config)
    try:
        return sandbox.restrict_files([*sandbox.system_paths(), folder, *read], [folder], True, ports)
    except RefusedStart:
        if _of_its_own(config):
            return 0
        raise


def _of_its_own(config: Config) -> bool:
    """Whether the operating system already keeps this user away from keys that are there."""
    return os.geteuid() != 0 and config.keys.exists() and not os.access(config.keys, os.R_OK)


async def _works(config: Config, holder: Holder, log: Log) -> Works:
    """Where calls run: here, or in processes that are ready when this returns. Raises RefusedStart."""
    if config.phone_processes > 1:
        # Named again, since our own environment is clean. They start before the lock-in, or after it within it.
        child = {**os.environ, "NIGHTBELL_HOME": str(config.home), "NIGHTBELL_BIND": config.bind}
        spread = Spread(config.rtp_ports, config.phone_processes, child, holder, log)
        await spread.begin()
        return spread
    voice.warm()
    post = asyncio.get_running_loop().call_soon_threadsafe
    return Engine(phone_folder(config), holder, Media(config.bind, config.rtp_ports, post), log)


@dataclass(frozen=True, slots=True)
class Wire:
    """What speaks SIP: the endpoint, who it speaks with, and the carriers that it registers with."""

    endpoint: Endpoint
    keeper: Doorkeeper
    trunks: Trunks
    shown: Certificates


async def _wire(config: Config, phone: Phone, log: Log) -> Wire:
    """Bind the ports, with the rules of the snapshot in force. Raises RefusedStart."""
    resolver, shown = Resolver.system(), Certificates(config)
    endpoint = Endpoint(
        config.sip_bind, config.sip_port, phone.on_call, log, tls=shown.load(),
        sips_port=config.sips_port, public=config.sip_public, resolver=resolver,
    )  # fmt: skip
    keeper = Doorkeeper(endpoint, resolver, log, shown, phone_folder(config))
    await keeper.begin(phone.holder.current)
    await endpoint.start()
    phone.attach(endpoint)
    trunks = Trunks(
        endpoint.layer, partial(trunk_targets, resolver), log, endpoint.taken, endpoint.refused_plain
    )
    endpoint.layer.transport.on_lost, endpoint.heard = trunks.lost, trunks.heard
    phone.trunks, phone.ask_trunk = lambda: keeper.marked(trunks.states()), trunks.ask

    phone.desk = _desk(
        config, phone, Dialler(endpoint, trunks, resolver, _local(phone.holder)), endpoint, log
    )

    def routed(snapshot: Snapshot) -> None:
        keeper.take(snapshot)
        trunks.follow(snapshot.trunks)

    phone.routed = routed
    if endpoint.counters["tls_not_listening"]:
        log("tls_not_listening", port=config.sips_port)
    return Wire(endpoint, keeper, trunks, shown)


def _local(holder: Holder) -> Callable[[], bool]:
    return lambda: holder.current.limits.local


def _desk(config: Config, phone: Phone, dialler: Dialler, endpoint: Endpoint, log: Log) -> Desk:
    """Calls to and from staff, with sound of their own: a thread that sleeps while there are none."""
    post = asyncio.get_running_loop().call_soon_threadsafe
    media, clips = Media(config.bind, config.rtp_ports, post), phone_folder(config) / "clips"
    control, recorder = phone.control, Recorder(phone_folder(config) / "spool", log)
    return Desk(
        endpoint, media, phone.holder, dialler, clips, control.send, lambda: control.connected, log, recorder
    )


async def run(config: Config, log: Log) -> None:
    """Take calls until SIGTERM or a drain command, then end them in good order."""
    holder = Holder(phone_folder(config))
    works = await _works(config, holder, log)
    phone = Phone(phone_folder(config), holder, works, config.control_socket, log)
    wire = await _wire(config, phone, log)
    # After the ports are bound, before the first thread and the first datagram.
    abi = lock_in(config, wire.keeper.ports, wire.shown.folders())
    encode.load()
    phone.start()
    wire.trunks.follow(holder.current.trunks)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, phone.asked_to_stop)
    control = asyncio.gather(phone.control.run(), wire.keeper.run(), heap.keep_small())
    heap.settle()
    log(
        "phone_ready",
        port=wire.endpoint.port,
        version=holder.current.version,
        kind=f"landlock-{abi}",
        pid=os.getpid(),
    )
    await phone.draining.wait()
    await phone.drain(holder.current.limits.drain_seconds)
    control.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await control
    await wire.trunks.close()
    await wire.endpoint.close()
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
