"""Keeps the policy in step with the snapshot and with the DNS: which addresses are a trunk's changes on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightbell.core import clock, durable
from nightbell.core.log import Log
from nightbell.phone.certificates import Certificates
from nightbell.phone.endpoint import Endpoint
from nightbell.phone.policy import Policy
from nightbell.phone.resolve import PORTS, Resolver, Unresolved, named
from nightbell.phone.snapshot import Snapshot
from nightbell.sip.trunk import Trunk

AGAIN, SOON = 60.0, 5.0  # seconds between two looks, and while a name is not found
AFTERWARDS = 3_600.0  # an address that left the DNS may still end its calls, and ring out of a cache
FIRST = 3.0  # seconds: a line that starts does not wait longer for name servers
DNS_PORT = 53  # long answers come over TCP
MEMORY = "addresses.json"  # in the phone's folder: what the DNS said last
WRITE_AGAIN = 3_600.0  # seconds: how old it may be although nothing has changed


class Doorkeeper:
    """`begin` before the ports are bound, `take` with each snapshot, `run` for as long as the phone."""

    def __init__(
        self,
        endpoint: Endpoint,
        resolver: Resolver,
        log: Log,
        shown: Certificates | None = None,
        folder: Path | None = None,
    ) -> None:
        """shown: the certificates that the endpoint shows, to be read again when they change; folder: where to keep what the
        DNS said, None for nowhere."""
        self._endpoint, self._resolver, self._log, self._shown = endpoint, resolver, log, shown
        self._seen: dict[str, dict[str, float]] = {}  # by trunk: addresses, and when each was last found
        self._unresolved: set[str] = set()
        self._memory = folder / MEMORY if folder is not None else None
        self._written: tuple[object, float] = ((), 0.0)
        self._snapshot: Snapshot | None = None
        self._changed = asyncio.Event()
        self._wanted: dict[str, set[int]] = {}  # by trunk: TCP ports of its servers
        self.ports: frozenset[int] = frozenset()

    async def begin(self, snapshot: Snapshot) -> None:
        """Look up what the first snapshot names, so far as name servers answer in time."""
        self._snapshot = snapshot
        self._recall()
        try:
            async with asyncio.timeout(FIRST):
                await self._look()
        except Exception as error:  # a line must start whatever the DNS says
            self._log.failure("trunk_addresses", error)
        self._decide()
        self.ports = frozenset(
            {DNS_PORT, *PORTS.values()}.union(*(self._ports(one) for one in snapshot.trunks))
        )

    def take(self, snapshot: Snapshot) -> None:
        """Another snapshot is in force: its rules count at once, with the addresses that are known."""
        self._snapshot = snapshot
        self._decide()
        self._changed.set()

    @property
    def restart_for(self) -> tuple[str, ...]:
        """Trunks whose TCP port was not known when the process was locked in: they need the phone to be restarted."""
        trunks = self._snapshot.trunks if self._snapshot is not None else ()
        return tuple(trunk.id for trunk in trunks if not self._ports(trunk) <= self.ports)

    def marked(self, states: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The trunks' states for health, with those that wait for a restart marked: why is 'restart'."""
        waiting = {key: {"state": "failed", "why": "restart"} for key in self.restart_for}
        return {trunk: state | waiting.get(trunk, {}) for trunk, state in states.items()}

    async def run(self) -> None:
        """Never ends by itself, and never fails: what cannot be found now is looked for again."""
        while True:
            self._changed.clear()
            try:
                self._renew()
            except Exception as error:  # no reason to leave the carriers' addresses as they were
                self._log.failure("certificates", error)
            try:
                await self._look()
                self._decide()
            except Exception as error:
                self._log.failure("trunk_addresses", error)
            await self._keep()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), SOON if self._unresolved else AGAIN)

    def _recall(self) -> None:
        """A carrier must not become a stranger because the machine starts while no name server answers."""
        if self._memory is None:
            return
        try:
            entries = json.loads(self._memory.read_text("utf-8"))
            self._resolver.remember(entries, clock.utc_now().timestamp())
        except FileNotFoundError:
            return
        except Exception as error:  # whatever is in it, a line must start
            self._log.failure("addresses_unread", error)

    async def _keep(self) -> None:
        """Write down what changed; in a thread, since a disk may take its time and calls may not."""
        if self._memory is None:
            return
        wall = clock.utc_now().timestamp()
        entries = self._resolver.remembered(wall)
        said, (before, then) = [entry[:3] for entry in entries], self._written
        if not entries or (said == before and clock.monotonic() - then < WRITE_AGAIN):
            return
        try:
            await asyncio.to_thread(durable.write_file, self._memory, json.dumps(entries).encode())
        except OSError as error:
            self._log.failure("addresses_unwritten", error)
        self._written = (said, clock.monotonic())

    def _renew(self) -> None:
        """A carrier must not find a certificate that has run out while its successor lies on the disk."""
        new = self._shown.changed(self._log) if self._shown is not None else None
        if new is not None:
            self._endpoint.layer.transport.tls = new
            self._log("certificates_taken")

    async def _look(self) -> None:
        trunks = self._snapshot.trunks if self._snapshot is not None else ()
        await asyncio.gather(*(self._look_for(trunk) for trunk in trunks))
        for gone in set(self._seen) - {trunk.id for trunk in trunks}:
            del self._seen[gone]
            self._wanted.pop(gone, None)

    async def _look_for(self, trunk: Trunk) -> None:
        if not named(trunk):
            return
        try:
            found = await self._resolver.addresses(trunk)
            for host, port in named(trunk)[:1]:
                targets = await self._resolver.targets(host, port, trunk.transport)
                self._wanted[trunk.id] = {peer.port for peer in targets if peer.reliable}
        except Unresolved:
            if trunk.id not in self._unresolved:
                self._log("trunk_unresolved", reference=trunk.id)
            self._unresolved.add(trunk.id)
            return
        self._unresolved.discard(trunk.id)
        now = clock.monotonic()
        kept = self._seen.get(trunk.id, {})
        self._seen[trunk.id] = {
            host: then for host, then in kept.items() if now - then < AFTERWARDS
        } | dict.fromkeys(found, now)

    def _ports(self, trunk: Trunk) -> set[int]:
        """TCP ports that the trunk names itself, or that its servers have."""
        if trunk.transport == "udp":
            return set()
        return {port for _, port in named(trunk) if port} | self._wanted.get(trunk.id, set())

    def _decide(self) -> None:
        if self._snapshot is None:
            return
        seen = {trunk: tuple(addresses) for trunk, addresses in self._seen.items()}
        self._endpoint.take_policy(Policy(self._snapshot.trunks, self._snapshot.limits.local, seen))
