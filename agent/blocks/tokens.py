"""What proves, away from an executor's own socket, that somebody may have a framework's blocks.

A token names the framework and is signed with a secret of the agent, which stays in its work_dir: so nothing has to be remembered
for each, and a token holds as long as the agent's directory does. An executor is told the token of its framework on its own
socket, and tells it to whom it wants.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from mesolite.ids import FrameworkId, id_error

_SECRET_BYTES: Final = 32
#: An id of 255 characters of four bytes, in base64, and the signature.
MAX_TOKEN_LENGTH: Final = 2048


class BlockTokens:
    """Signs and reads tokens."""

    def __init__(self, secret: bytes) -> None:
        self._secret: Final = secret

    @classmethod
    def kept_in(cls, path: Path) -> "BlockTokens":
        """Read the secret from a file, which is made where there is none.

        Raises:
            OSError: It can be neither read nor written.
        """
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            secret = b""
        if len(secret) != _SECRET_BYTES:
            secret = secrets.token_bytes(_SECRET_BYTES)
            draft = path.with_name(path.name + ".new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(secret)
            draft.rename(path)
        return cls(secret)

    def token(self, framework_id: FrameworkId) -> str:
        """The token of a framework: letters, digits, "_", "-" and one "."."""
        name = base64.urlsafe_b64encode(framework_id.encode()).decode().rstrip("=")
        return f"{name}.{self._signature(framework_id)}"

    def framework(self, token: str) -> FrameworkId | None:
        """Whose token this is; None where it is none of this agent's."""
        name, _, signature = token.partition(".")
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return None
        try:
            framework_id = FrameworkId(base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode())
        except (binascii.Error, ValueError):
            return None
        genuine = hmac.compare_digest(signature, self._signature(framework_id))
        return framework_id if genuine and id_error(framework_id) is None else None

    def _signature(self, framework_id: FrameworkId) -> str:
        return hmac.new(self._secret, framework_id.encode(), hashlib.sha256).hexdigest()
