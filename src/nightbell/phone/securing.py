"""A call's encryption as its SIP side agreed on it, brought to its sound."""

from __future__ import annotations

from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.phone.association import Association
from nightbell.phone.datagrams import Address
from nightbell.phone.session import Peer, Session
from nightbell.sip.sdp import AudioOffer
from nightbell.sip.srtp import PLAIN, Keying, Security, SrtpKeys


def peer_of(offer: AudioOffer, codec: Codec, security: Security = PLAIN) -> Peer | None:
    """The other side's sound, None when it does not have `codec`."""
    number = offer.payload_type(codec)
    if number is None:
        return None
    return Peer(
        offer.remote, codec, number, offer.dtmf_type_for(codec), mute=offer.held,
        keys=security.keys, secured=security.secured,
    )  # fmt: skip


class Securing:
    """Does the handshake where one is agreed on. All of it in the event loop.

    failed: there will be no keys, why (`Association.why`), and whether there are older ones, which hold."""

    def __init__(self, session: Session, failed: Callable[[str, bool], None]) -> None:
        self._session, self._failed = session, failed
        self._association: Association | None = None
        self._there = self._keyed = False

    def agree(self, security: Security, address: Address) -> None:
        """What holds now, and where its sound comes from as described. The same association again goes on; another one
        begins anew."""
        # A session keeps its keys until it gets others or the call is not encrypted any more.
        self._keyed = security.keys is not None or (self._keyed and security.secured)
        if security.keying is not Keying.DTLS:
            self.close()
            return
        before, named = self._association, self._session.name(address)
        if before is not None and (before.security.theirs, before.security.setup) == (
            security.theirs,
            security.setup,
        ):
            before.name(named)
            return
        self.close()
        if not security.theirs:  # our own offer, not answered yet
            return
        self._association = Association(security, self._session.send_raw, self._done, named)
        self._session.on_dtls = self._association.feed
        if self._there:
            self._association.start()

    def there(self) -> None:
        """The other side has our description: its ACK came."""
        self._there = True
        if self._association is not None:
            self._association.start()

    def close(self) -> None:
        """The call is over, or has its keys from elsewhere. Idempotent."""
        self._session.on_dtls = None
        if self._association is not None:
            self._association.close()
            self._association = None

    def _done(self, keys: SrtpKeys | None, source: bytes) -> None:
        if keys is not None:
            self._keyed = True
            self._session.secure(keys, source)
            return
        why = self._association.why if self._association is not None else ""
        self.close()  # the same agreement once more begins anew
        self._failed(why, self._keyed)
