"""One desk at a time in a data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from polaris_synapse.bus.journal import JournalLockedError

LOCK_FILE_NAME: Final = "desk.lock"


class DirectoryLock:
    """An exclusive lock on a directory, held until ``release`` or until the process ends, however it ends.

    Raises JournalLockedError where another process (or another lock in this one) has it.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / LOCK_FILE_NAME
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalLockedError(
                f"another desk (process {holder or 'unknown'}) uses the data directory {directory}; stop it first or "
                "choose another directory"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let the next one in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_holder(directory: Path) -> int | None:
    """The process that has a directory's lock (0 where it does not say which), or None where nobody has it.

    A process that is stopped, or hangs, has its lock all the same; one that is gone has none, however it went.
    """
    try:
        descriptor = os.open(directory / LOCK_FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Shared, so that two who ask at once do not take each other for a desk; given back at once.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(holder) if holder.isdecimal() else 0
    else:
        return None
    finally:
        os.close(descriptor)
