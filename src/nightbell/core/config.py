"""Settings from the environment, read once into one frozen object (DESIGN §5)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nightbell.core.errors import RefusedStart


@dataclass(frozen=True, slots=True)
class Config:
    """Where this installation lives and listens.

    home: data; keys: key material, never inside home; url: the fixed public address;
    rtp_ports: inclusive range of UDP ports; database: 'sqlite' or a postgresql:// URL.
    """

    home: Path
    keys: Path
    url: str
    https_port: int
    sip_port: int
    sips_port: int
    rtp_ports: tuple[int, int]
    bind: str
    database: str
    keyring: str
    key_provider: str
    key_token: str
    key_ca: str
    period_slot: str
    models: Path
    metrics_port: int
    smtp: str
    smtp_from: str
    smtp_ca: str

    @property
    def spool(self) -> Path:
        return self.home / "phone" / "spool"

    @property
    def control_socket(self) -> Path:
        return self.home / "run" / "control.sock"

    @property
    def outbox(self) -> Path:
        return self.home / "outbox"

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"


def secret(environ: Mapping[str, str], name: str, default: str = "") -> str:
    """`NAME`, or the first line of the file that `NAME_FILE` names."""
    file = environ.get(f"{name}_FILE")
    if file is None:
        return environ.get(name, default)
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise RefusedStart(
            f"{name}_FILE",
            f"the file cannot be read ({error.strerror})",
            "correct the path or its permissions",
        ) from error


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise RefusedStart(name, f"{text!r} is not a port", "use a number from 1 to 65535")
    return int(text)


def _ports(environ: Mapping[str, str], name: str, default: str) -> tuple[int, int]:
    text = environ.get(name, default)
    low, _, high = text.partition("-")
    if not (low.isdigit() and high.isdigit() and 1024 <= int(low) < int(high) < 65536):
        raise RefusedStart(name, f"{text!r} is not a range of ports", "write it as 20000-29999")
    return int(low), int(high)


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings. Raises RefusedStart naming the setting, why, and the mend."""
    env = os.environ if environ is None else environ
    home = Path(env.get("NIGHTBELL_HOME", "var")).absolute()
    keys = Path(env.get("NIGHTBELL_KEYS", "var-keys")).absolute()
    https_port = _port(env, "NIGHTBELL_HTTPS_PORT", 8443)
    url = env.get("NIGHTBELL_URL", f"https://localhost:{https_port}").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path:
        raise RefusedStart("NIGHTBELL_URL", f"{url!r} is not an https address", "write https://name[:port]")
    return Config(
        home=home,
        keys=keys,
        url=url,
        https_port=https_port,
        sip_port=_port(env, "NIGHTBELL_SIP_PORT", 5060),
        sips_port=_port(env, "NIGHTBELL_SIPS_PORT", 5061),
        rtp_ports=_ports(env, "NIGHTBELL_RTP_PORTS", "20000-29999"),
        bind=env.get("NIGHTBELL_BIND", "127.0.0.1"),
        database=secret(env, "NIGHTBELL_DATABASE", "sqlite"),
        keyring=secret(env, "NIGHTBELL_KEYRING", "sqlite"),
        key_provider=env.get("NIGHTBELL_KEY_PROVIDER", "file"),
        key_token=env.get("NIGHTBELL_KEY_TOKEN_FILE", ""),
        key_ca=env.get("NIGHTBELL_KEY_CA", ""),
        period_slot=env.get("NIGHTBELL_PERIOD_SLOT", ""),
        models=Path(env.get("NIGHTBELL_MODELS", str(Path.cwd() / "models"))).absolute(),
        metrics_port=_port(env, "NIGHTBELL_METRICS_PORT", 9464),
        smtp=secret(env, "NIGHTBELL_SMTP"),
        smtp_from=env.get("NIGHTBELL_SMTP_FROM", ""),
        smtp_ca=env.get("NIGHTBELL_SMTP_CA", ""),
    )


def check_keys_apart(config: Config) -> None:
    """Keys live apart from data (decision 4). Raises RefusedStart."""
    if config.keys.resolve().is_relative_to(config.home.resolve()):
        raise RefusedStart(
            "NIGHTBELL_KEYS",
            "it lies inside NIGHTBELL_HOME, so whoever copies the data would hold the keys too",
            "put it on another path, best on another disk",
        )
    if config.keys.exists():
        for path in (config.keys, *sorted(config.keys.rglob("*"))):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & 0o077:
                raise RefusedStart(
                    "NIGHTBELL_KEYS", f"{path} can be read by others", f"run: chmod -R go-rwx {config.keys}"
                )
