"""Which certificates SIP shows: those that the settings name, or our own; read again when they are renewed."""

from __future__ import annotations

from pathlib import Path

from nightbell.core.config import Config
from nightbell.core.errors import RefusedStart
from nightbell.core.log import Log
from nightbell.phone.tls import Pair, Tls


class Certificates:
    """`load` at the start, `changed` now and then."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._seen: frozenset[tuple[Path, int, int]] = frozenset()

    def load(self) -> Tls:
        """Read them. Without any there is no TLS listener. Raises RefusedStart."""
        self._seen = self._stamps()
        main, named = self._main(), self._named()
        ca = Path(self._config.sip_ca) if self._config.sip_ca else None
        # Our own proves nothing to others, and some end the handshake over such a one.
        client = main if self._config.sip_cert else None
        return Tls(main or next(iter(named.values()), None), named, ca, client)

    def changed(self, log: Log) -> Tls | None:
        """What there is now, if a file has changed and all are in order; else what is in use stays."""
        before = self._seen
        if self._stamps() == before:
            return None
        try:
            return self.load()
        except (RefusedStart, OSError) as error:  # half of a pair is written: the next look finds both
            self._seen = before
            log.failure("certificates_refused", error)
            return None

    def folders(self) -> list[Path]:
        """Where successors will lie, to be readable after the lock-in.

        Their keys are in this process's memory anyway. A folder that has anything to do with the sealing keys or with the
        home is none of them: then the phone has to be started anew after a renewal.
        """
        config = self._config
        guarded = [path.resolve() for path in (config.keys, config.home)]
        found = []
        for file in (config.sip_cert, config.sip_key, config.sip_ca):
            if file:
                found += [Path(file).absolute().parent, Path(file).resolve().parent]
        found += [Path(config.sip_certs).absolute()] if config.sip_certs else []
        return [one for one in dict.fromkeys(found) if not any(_touch(one, other) for other in guarded)]

    def _main(self) -> Pair | None:
        config = self._config
        if bool(config.sip_cert) != bool(config.sip_key):
            missing = "NIGHTBELL_SIP_KEY" if config.sip_cert else "NIGHTBELL_SIP_CERT"
            raise RefusedStart(missing, "a certificate and its key belong together", "name both, or neither")
        if config.sip_cert:
            return Pair(Path(config.sip_cert), Path(config.sip_key))
        own = Pair(config.sip_own / "sip.pem", config.sip_own / "sip.key")
        return own if own.certificate.exists() and own.key.exists() else None

    def _named(self) -> dict[str, Pair]:
        if not self._config.sip_certs:
            return {}
        folder = Path(self._config.sip_certs)
        if not folder.is_dir():
            why = f"{folder} is no folder"
            raise RefusedStart("NIGHTBELL_SIP_CERTS", why, "name a folder of NAME.pem and NAME.key")
        return {file.stem: Pair(file, file.with_suffix(".key")) for file in sorted(folder.glob("*.pem"))}

    def _stamps(self) -> frozenset[tuple[Path, int, int]]:
        config = self._config
        files = [Path(file) for file in (config.sip_cert, config.sip_key, config.sip_ca) if file]
        files += [config.sip_own / "sip.pem", config.sip_own / "sip.key"]
        if config.sip_certs:
            files += [file for pattern in ("*.pem", "*.key") for file in Path(config.sip_certs).glob(pattern)]
        found = set()
        for file in files:
            try:
                status = file.stat()
            except OSError:
                continue
            found.add((file, status.st_mtime_ns, status.st_size))
        return frozenset(found)


def _touch(folder: Path, guarded: Path) -> bool:
    """Whether one lies within the other."""
    real = folder.resolve()
    return real.is_relative_to(guarded) or guarded.is_relative_to(real)
