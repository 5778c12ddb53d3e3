"""nginx for tests, with the deployment's own configuration on free ports."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from polaris_synapse.testing.servers.policy import is_root, program
from polaris_synapse.testing.servers.process import ServerProcess, listens, server_folder

_PACKAGE: Final = "nginx-light"
_CHECK_SECONDS_MAX: Final = 20


class ConfigurationRefusedError(RuntimeError):
    """nginx does not accept the configuration; the message holds what it said."""


class NginxServer:
    """One nginx with the given configuration, stopped by its process id.

    ``configuration`` may say ``/etc/nginx/`` and ``/var/cache/nginx``, as it does in its container; here these are
    folders of its own. ``files`` are put into the first of them, by relative path.
    """

    def __init__(self, configuration: str, port: int, files: dict[str, bytes]) -> None:
        self._program = program("nginx", package=_PACKAGE)
        # As root, nginx's workers run as somebody else and must reach what they serve and write.
        user = "www-data" if is_root() else None
        self._folder = server_folder("nginx", user=user)
        text = configuration.replace("/etc/nginx/", f"{self._folder}/").replace(
            "/var/cache/nginx", str(self._folder / "cache")
        )
        (self._folder / "cache").mkdir(mode=0o777)
        if user is not None:
            shutil.chown(self._folder / "cache", user, user)
        for name, content in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        types = Path("/etc/nginx/mime.types")
        if types.exists():
            shutil.copyfile(types, self._folder / "mime.types")
        (self._folder / "nginx.conf").write_text(text, encoding="utf-8")
        globals_ = f"pid {self._folder}/nginx.pid; daemon off;" + (f" user {user};" if user else "")
        self._command = [self._program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf"), "-g", globals_]
        self.process = ServerProcess(self._command, self._folder, lambda: listens(port))

    def check(self) -> None:
        """``nginx -t``. Raises ConfigurationRefusedError."""
        done = subprocess.run(  # noqa: S603  # nginx itself, found by name
            [*self._command, "-t"], capture_output=True, text=True, timeout=_CHECK_SECONDS_MAX, check=False
        )
        if done.returncode or "[warn]" in done.stderr:
            raise ConfigurationRefusedError(done.stderr)

    def start(self) -> None:
        """Start, and return when it listens."""
        self.process.start()

    def stop(self) -> None:
        """Stop and remove everything."""
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
