"""The trunks at work: registered, kept alive, and how they stand for health.

A trunk never holds up a call. What the carrier does not answer is asked again: at once when it shows a sign of life, else
more and more seldom. Nobody but the snapshot makes it send anything, and it places no calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nightbell.core.log import Log
from nightbell.phone.layer import Layer
from nightbell.phone.transport import Peer
from nightbell.phone.trunk_link import Link
from nightbell.sip.trunk import Kind, Trunk

Resolve = Callable[[Trunk], Awaitable[Sequence[Peer]]]
FAREWELL = 4.0  # seconds for taking back a registration whose trunk is gone


class Trunks:
    """`follow` with each snapshot; `states` for health. Everything in the event loop.

    resolve: where a trunk's servers are, best first; raises TemporaryError. calls and refused_plain: by trunk id, counted
    elsewhere.
    """

    def __init__(
        self,
        layer: Layer,
        resolve: Resolve,
        log: Log,
        calls: Mapping[str, int],
        refused_plain: Mapping[str, int],
    ) -> None:
        self._layer, self._resolve, self._log = layer, resolve, log
        self._calls, self._refused_plain = calls, refused_plain
        self._links: dict[str, Link] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    def follow(self, trunks: Sequence[Trunk]) -> None:
        """These are the trunks now. Those that did not change are left in peace."""
        new = {trunk.id: trunk for trunk in trunks}
        for gone in set(self._links) - set(new):
            self._end(gone)
        for trunk in new.values():
            link = self._links.get(trunk.id)
            if link is not None and link.trunk == trunk:
                continue
            if link is not None and _place(link.trunk) == _place(trunk):
                link.change(trunk)
                continue
            if link is not None:
                self._end(trunk.id)
            self._begin(trunk)

    def ask(self, trunk_id: str) -> None:
        """Ask this carrier now."""
        link = self._links.get(trunk_id)
        if link is not None:
            link.ask()

    def heard(self, trunk_id: str) -> None:
        """A request came by this trunk: the carrier lives."""
        link = self._links.get(trunk_id)
        if link is not None:
            link.heard()

    def lost(self, peer: Peer) -> None:
        """A connection that we opened is gone, and with it the way by which calls came."""
        for link in self._links.values():
            link.lost(peer)

    def dialling(self) -> list[Trunk]:
        """Those by which calls can be placed, best first: it is known that they work, nobody asked, they did not answer."""
        order = {"registered": 0, "reachable": 0, "off": 1, "registering": 1}
        links = [one for one in self._links.values() if one.trunk.proxy or one.trunk.domain]
        links.sort(key=lambda one: order.get(one.state()["state"], 2))  # in the snapshot's order otherwise
        return [one.trunk for one in links]

    async def servers(self, trunk: Trunk) -> list[Peer]:
        """Where requests to it go, best first: the server with which we are registered, then the others. Raises TemporaryError."""
        found = list(await self._resolve(trunk))
        link = self._links.get(trunk.id)
        registered = link.registered_with if link is not None else None
        return sorted(found, key=lambda peer: registered is None or peer.flow != registered.flow)

    def states(self) -> dict[str, dict[str, Any]]:
        """For health, by trunk id."""
        return {
            trunk_id: link.state()
            | {"calls": self._calls.get(trunk_id, 0), "refused_plain": self._refused_plain.get(trunk_id, 0)}
            for trunk_id, link in self._links.items()
        }

    async def close(self) -> None:
        """Stop. Registrations stand: after a restart calls come by them at once."""
        tasks = [*self._tasks.values(), *self._farewells]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._links.clear()

    def _begin(self, trunk: Trunk) -> None:
        link = self._links[trunk.id] = Link(trunk, self._layer, self._resolve, self._log)
        self._tasks[trunk.id] = asyncio.get_running_loop().create_task(link.run())

    def _end(self, trunk_id: str) -> None:
        link = self._links.pop(trunk_id)
        self._tasks.pop(trunk_id).cancel()
        if link.trunk.kind is Kind.REGISTER:
            task = asyncio.get_running_loop().create_task(self._farewell(link))
            self._farewells.add(task)
            task.add_done_callback(self._farewells.discard)

    async def _farewell(self, link: Link) -> None:
        try:
            async with asyncio.timeout(FAREWELL):
                await link.unregister()
        except TimeoutError:
            self._log("trunk_not_unregistered", reference=link.trunk.id)
        except Exception as error:
            self._log.failure("trunk_broken", error, reference=link.trunk.id)


def _place(trunk: Trunk) -> tuple[object, ...]:
    """Where and as whom we register: if that changes, it is another registration."""
    return trunk.kind, trunk.domain, trunk.proxy, trunk.transport, trunk.user
