"""The data directory and the desk's own secrets, made at the first start and kept private."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.settings import DeskSettings

_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


def prepare_directory(directory: Path) -> None:
    """Make the data directory, for this user only. Raises ConfigurationError where it cannot be used."""
    try:
        for folder in (directory, directory / "keys"):
            folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {directory} cannot be made: {error.strerror}; give another with --data-directory."
        ) from None
    if not os.access(directory, os.W_OK):
        raise ConfigurationError(
            f"The data directory {directory} cannot be written; give another with --data-directory."
        )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user may read, in one step."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def jwt_secret(settings: DeskSettings, directory: Path) -> str:
    """The secret that signs log-ins: JWT_SECRET, else one made at the first start."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = directory / "keys" / "jwt.secret"
    if not path.is_file():
        write_private(path, secrets.token_hex(32).encode())
    return path.read_text(encoding="ascii").strip()
