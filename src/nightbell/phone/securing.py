"""A call's encryption as its SIP side agreed on it, brought to its sound."""

from __future__ import annotations

from collections.abc import Callable

from nightbell.core.capture import Codec
from nightbell.phone.dtls import Handshake
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

    failed: there will be no keys, and why (`Handshake.why`)."""

    def __init__(self, session: Session, failed: Callable[[str], None]) -> None:
        self._session, self._failed = session, failed
        self._handshake: Handshake | None = None
        self._there = False

    def agree(self, security: Security) -> None:
        """What holds now. The same association again goes on; another one begins anew."""
        if security.keying is not Keying.DTLS:
            self.close()
            return
        before = self._handshake
        if before is not None and (before.security.theirs, before.security.setup) == (
            security.theirs,
            security.setup,
        ):
            return
        self.close()
        if not security.theirs:  # our own offer, not answered yet
            return
        handshake = Handshake(security, self._session.send_raw, self._done)
        self._handshake = handshake
        self._session.on_dtls = handshake.feed
        if self._there:
            handshake.start()

    def there(self) -> None:
        """The other side has our description: its ACK came."""
        self._there = True
        if self._handshake is not None:
            self._handshake.start()

    def close(self) -> None:
        """The call is over, or has its keys from elsewhere. Idempotent."""
        self._session.on_dtls = None
        if self._handshake is not None:
            self._handshake.close()
            self._handshake = None

    def _done(self, keys: SrtpKeys | None) -> None:
        if keys is not None:
            self._session.secure(keys)
        elif self._handshake is not None:
            self._failed(self._handshake.why)
