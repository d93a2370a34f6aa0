"""Making an installation: folders, stamp, keys, certificates, database, keyring. Safe to run again."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nightbell.core.clock import iso
from nightbell.core.config import Config, check_keys_apart
from nightbell.core.durable import write_file
from nightbell.core.errors import RefusedStart
from nightbell.sealing.provider import FileKeyProvider
from nightbell.server import tls

DEMO, REAL = "demo", "real"
FOLDERS = (
    "db",
    "keyring",
    "blobs",
    "phone/spool",
    "phone/clips",
    "phone/tls",
    "run",
    "outbox",
    "tls",
    "logs",
    "checkpoints",
)
SNAPSHOT_SIGNER, CHECKPOINT_SIGNER = "signer-snapshot", "signer-checkpoint"


def stamp(config: Config) -> str | None:
    """'demo' or 'real', or None for a home that was never made."""
    try:
        return str(json.loads((config.home / "home.json").read_text("utf-8"))["mode"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, OSError) as error:
        raise RefusedStart(
            f"NIGHTBELL_HOME {config.home}", "its home.json cannot be read", "restore the file from a backup"
        ) from error


def require(config: Config, mode: str | None = None) -> str:
    """The mode of an existing home. Raises RefusedStart when it is absent or of the other kind."""
    found = stamp(config)
    if found is None:
        raise RefusedStart(
            f"NIGHTBELL_HOME {config.home}",
            "there is no installation here",
            "run: nightbell serve (or serve --demo)",
        )
    if mode is not None and found != mode:
        raise RefusedStart(
            f"NIGHTBELL_HOME {config.home}",
            f"it was made as a {found} installation and {mode} was asked for",
            "use another NIGHTBELL_HOME and NIGHTBELL_KEYS" + (", or add --demo" if found == DEMO else ""),
        )
    return found


def make(config: Config, mode: str, now: datetime) -> bool:
    """Make what is missing of a home and its keys. Returns whether it is new. Does not touch the database."""
    found = stamp(config)
    if found is not None:
        require(config, mode)
        check_keys_apart(config)
        for name in FOLDERS:
            (config.home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        tls.make_sip(config.sip_own, _hosts(config), now)
        return False
    if config.home.exists() and any(config.home.iterdir()) and not (config.home / "making").exists():
        raise RefusedStart(
            f"NIGHTBELL_HOME {config.home}",
            "it is not empty and not an installation",
            "choose an empty folder",
        )
    check_keys_apart(config)  # before anything is made: what is refused leaves nothing behind
    os.umask(0o077)
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (config.home / "making").touch()
    for folder in (config.home, config.keys, config.keys / "periods", *(config.home / n for n in FOLDERS)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_keys_apart(config)
    if config.key_provider == "file" and not (config.keys / "kek.key").exists():
        FileKeyProvider.create(config.keys / "kek.key")
    if not (config.keys / "django.secret").exists():
        write_file(config.keys / "django.secret", secrets.token_urlsafe(50).encode())
    if not (config.home / "tls" / "ca.pem").exists():
        tls.make(config.home / "tls", config.keys, _hosts(config), now, config.sip_own)
    tls.make_sip(config.sip_own, _hosts(config), now)
    write_stamp(config, mode, now)
    (config.home / "making").unlink()
    return True


def _hosts(config: Config) -> list[str]:
    """Whom our own certificates name."""
    return [urlsplit(config.url).hostname or "localhost", "localhost", "127.0.0.1", "::1"]


@contextmanager
def alone(config: Config, part: str) -> Iterator[None]:
    """Hold this home for one process of its kind; the kernel lets go when it dies. Raises RefusedStart."""
    handle = os.open(config.home / "run" / f"{part}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedStart(
                f"NIGHTBELL_HOME {config.home}",
                f"another `nightbell {part}` runs on it",
                "stop that one, or use another home",
            ) from None
        yield
    finally:
        os.close(handle)


def write_stamp(config: Config, mode: str, now: datetime) -> None:
    body = {"mode": mode, "made_at": iso(now), "url": config.url}
    write_file(config.home / "home.json", json.dumps(body, indent=1).encode())


def prepare_database(config: Config, now: datetime) -> None:
    """Migrate, and make what every installation has: logs, signers, the first epoch, the phone's trust."""
    from django.core.management import call_command

    from nightbell.audit import service as audit
    from nightbell.mailbox import epochs
    from nightbell.store import vault

    call_command("migrate", verbosity=0, interactive=False)
    call_command("createcachetable", verbosity=0)
    audit.open_log(audit.INSTALLATION)
    ring = vault.keyring()
    if not ring.has(vault.SECRETS):
        ring.put(vault.SECRETS, "secret", secrets.token_bytes(32))
    for name in (SNAPSHOT_SIGNER, CHECKPOINT_SIGNER):
        if not ring.has(name):
            ring.put(name, "signer", Ed25519PrivateKey.generate().private_bytes_raw())
    trust = config.home / "phone" / "trust.pub"
    if not trust.exists():
        signer = Ed25519PrivateKey.from_private_bytes(ring.get(SNAPSHOT_SIGNER, "signer"))
        write_file(trust, signer.public_key().public_bytes_raw())
    if epochs.current() is None:
        epochs.begin(now, "system:setup")


def trust_hint(certificate: Path) -> str:
    """How a person tells a browser to trust our CA."""
    return (
        f"Certificate authority: {certificate}\n"
        "  Firefox: Settings, Certificates, Authorities, Import. Chrome on Linux:\n"
        f"  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n Nightbell -i {certificate}\n"
        f"  curl: curl --cacert {certificate} ..."
    )
