"""A dialog: what both sides must remember to speak within a call (RFC 3261 §12)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nightbell.sip.grammar import Uri, parse_address, parse_uri
from nightbell.sip.message import Request, Response, build_request


@dataclass(slots=True)
class Dialog:
    """local and remote: From/To values with their tags; target: where the other side wants requests;
    routes: Record-Route values in the order in which we use them; contact: our own Contact value.
    """

    call_id: str
    local: str
    remote: str
    local_tag: str
    remote_tag: str
    target: str
    contact: str
    routes: tuple[str, ...] = ()
    local_cseq: int = 0
    remote_cseq: int | None = None
    invite_cseq: int = field(default=0)

    def accepts(self, request: Request) -> bool:
        """Whether the request is newer than all before (§12.2.2); then it is remembered. ACK never advances."""
        number = request.cseq.number
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh(self, message: Request | Response) -> None:
        """Take over a new remote target from a target refresh request or its 2xx (§12.2.1.2)."""
        contact = _contact(message)
        if contact:
            self.target = contact

    def request(
        self,
        method: str,
        via: str,
        cseq: int | None = None,
        extra: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> bytes:
        """A request within the dialog (§12.2.1.1). cseq: an ACK's is its INVITE's; else the next one is used."""
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self.way()
        lines = [("Via", via), ("Max-Forwards", "70"), *(("Route", route) for route in routes)]
        lines += [
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        if method in ("INVITE", "UPDATE"):
            lines.append(("Contact", self.contact))
        return build_request(method, uri, [*lines, *extra], body)

    def next_hop(self) -> Uri:
        """The URI of whoever gets the next request: the first route, else the target. Raises ValueError."""
        return parse_address(self.routes[0]).uri if self.routes else parse_uri(self.target)

    def way(self) -> tuple[str, tuple[str, ...]]:
        """(Request-URI, Route values) of the next request (§12.2.1.1)."""
        if not self.routes or parse_address(self.routes[0]).uri.param("lr") is not None:
            return self.target, self.routes
        # A strict router of RFC 2543: its URI goes to the request line, the target to the end of the route.
        return parse_address(self.routes[0]).uri.text, (*self.routes[1:], f"<{self.target}>")


def _contact(message: Request | Response) -> str:
    values = message.listed("contact")
    return parse_address(values[0]).uri.text if values and values[0] != "*" else ""


def as_uas(request: Request, local_tag: str, contact: str) -> Dialog:
    """The dialog that our 2xx to this INVITE makes (§12.1.1). Raises ValueError for malformed routes.

    Without a Contact (RFC 2543) the From URI must do.
    """
    routes = tuple(request.listed("record-route"))
    for route in routes:
        parse_address(route)
    return Dialog(
        call_id=request.call_id,
        local=f"{request.get('to')};tag={local_tag}",
        remote=request.get("from"),
        local_tag=local_tag,
        remote_tag=request.sender.tag,
        target=_contact(request) or request.sender.uri.text,
        contact=contact,
        routes=routes,
        remote_cseq=request.cseq.number,
        invite_cseq=request.cseq.number,
    )


def as_uac(local: str, local_tag: str, response: Response, contact: str, target: str) -> Dialog:
    """The dialog that this 2xx to our INVITE makes (§12.1.2). target: the URI dialled, if there is no Contact."""
    routes = tuple(reversed(response.listed("record-route")))
    for route in routes:
        parse_address(route)
    return Dialog(
        call_id=response.call_id,
        local=local,
        remote=response.get("to"),
        local_tag=local_tag,
        remote_tag=response.to.tag,
        target=_contact(response) or target,
        contact=contact,
        routes=routes,
        local_cseq=response.cseq.number,
        invite_cseq=response.cseq.number,
    )
