"""Where a test's server comes from, and what happens where there is none.

In this order: a server that an environment variable names, a container where a Docker engine runs, a native one. Where
none of them works a test is skipped with one sentence, except in continuous integration (``CI`` is set), where a
missing server fails: a green run there means that everything ran.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

#: Where Debian keeps the programs of a server that are not on everybody's PATH.
_MORE_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/postgresql/15/bin")


class ServerMissingError(RuntimeError):
    """There is no such server here; the message says in one sentence what to install or to set."""


def program(name: str, *, package: str, variable: str = "") -> str:
    """The path of a server's program. Raises ServerMissingError, which names the Debian package that has it."""
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(_MORE_FOLDERS))
    if path is None:
        other = f", or set {variable} to a server that runs" if variable else ""
        raise ServerMissingError(f"{name} is not installed: run apt-get install {package}{other}.")
    return path


def must_exist() -> bool:
    """Whether a missing server is a failure (continuous integration) rather than a reason to skip."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def is_root() -> bool:
    """Whether this process may become any user, and so must not run PostgreSQL as itself."""
    return os.geteuid() == 0


def give_to(user: str, *paths: Path) -> None:
    """Make a user the owner of files, where this process may."""
    if is_root():
        for path in paths:
            shutil.chown(path, user, user)
