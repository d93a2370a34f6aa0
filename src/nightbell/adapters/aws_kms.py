"""AWS KMS as key provider: the period keys are wrapped by a key that never leaves AWS.

Contract: KMS Encrypt, Decrypt with EncryptionContext (docs.aws.amazon.com/kms/latest/APIReference). The context is public
and appears in CloudTrail: it holds the use alone, never anything of a message. Needs the extra `nightbell[aws]`.
"""

from __future__ import annotations

import base64
from typing import Any

from nightbell.core.errors import RefusedStart
from nightbell.sealing.errors import KeyUnavailable, Tampered, UnknownFormat, WrongKey

VERSION = b"\x02"
_ALTERED = {"InvalidCiphertextException"}
_OTHER_KEY = {"IncorrectKeyException"}


class AwsKmsProvider:
    """Wraps with one KMS key. key: id, ARN or alias; region '' is boto3's own default."""

    def __init__(self, key: str, region: str = "") -> None:
        try:
            import boto3  # type: ignore[import-untyped,unused-ignore]
            from botocore.config import Config  # type: ignore[import-untyped,unused-ignore]
        except ImportError as error:
            raise RefusedStart(
                "NIGHTBELL_KEY_PROVIDER",
                "AWS KMS needs a package that is not here",
                "pip install 'nightbell[aws]'",
            ) from error
        patience = Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 2})
        self._kms: Any = boto3.client("kms", region_name=region or None, config=patience)
        self._key = key

    def wrap(self, data: bytes, context: bytes) -> bytes:
        """Raises KeyUnavailable."""
        answer = self._ask("encrypt", Plaintext=data, EncryptionContext=_context(context))
        return VERSION + bytes(answer["CiphertextBlob"])

    def unwrap(self, data: bytes, context: bytes) -> bytes:
        """Raises KeyUnavailable, WrongKey, Tampered, UnknownFormat."""
        if data[:1] != VERSION:
            raise UnknownFormat("a wrapped key", "it was not wrapped by AWS KMS")
        answer = self._ask("decrypt", CiphertextBlob=data[1:], EncryptionContext=_context(context))
        return bytes(answer["Plaintext"])

    def _ask(self, operation: str, **parameters: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped,unused-ignore]

        try:
            return getattr(self._kms, operation)(KeyId=self._key, **parameters)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in _ALTERED:
                raise Tampered("a wrapped key", "AWS KMS refused it: altered, or another context") from None
            if code in _OTHER_KEY:
                raise WrongKey(
                    "a wrapped key", "it was wrapped by another KMS key", "set the right one"
                ) from None
            raise KeyUnavailable(
                "AWS KMS", f"it answered {code}", "check the key's state and policy"
            ) from None
        except BotoCoreError as error:
            raise KeyUnavailable("AWS KMS", type(error).__name__, "check network and credentials") from None


def _context(context: bytes) -> dict[str, str]:
    return {"nightbell": base64.b64encode(context).decode()}
