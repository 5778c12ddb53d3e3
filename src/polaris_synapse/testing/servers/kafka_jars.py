"""Apache Kafka's own jars, fetched once by Maven's ordinary client and checked against the sums in this folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from polaris_synapse.testing.servers.policy import ServerMissingError, program

_FOLDER: Final = Path(__file__).parent
_POM: Final = _FOLDER / "kafka-pom.xml"
_SUMS: Final = _FOLDER / "kafka-jars.sha256"
_FETCH_SECONDS_MAX: Final = 300
_ERROR_CHARACTERS: Final = 500


def java() -> str:
    """The Java that runs the broker. Raises ServerMissingError."""
    return program("java", package="openjdk-17-jre-headless")


def kafka_jars() -> Path:
    """The folder of the jars, all of them checked; fetched where they are not here yet. Raises ServerMissingError."""
    sums = _wanted()
    version = hashlib.sha256(_SUMS.read_bytes()).hexdigest()[:12]
    folder = _cache() / f"kafka-{version}"
    if not folder.is_dir():
        _fetch(folder, sums)
    _verify(folder, sums)
    return folder


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "polaris-synapse"


def _wanted() -> dict[str, str]:
    """The SHA-256 of each jar by its name."""
    lines = (line.split() for line in _SUMS.read_text(encoding="ascii").splitlines() if line)
    return {name: digest for digest, name in lines}


def _fetch(folder: Path, sums: dict[str, str]) -> None:
    maven = program("mvn", package="maven")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=folder.parent) as temporary:
        jars = Path(temporary) / "jars"
        command = [maven, "--quiet", "--batch-mode", "--file", str(_POM), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        try:
            done = subprocess.run(  # noqa: S603  # Maven itself, found by name, with our own pom
                command, capture_output=True, text=True, timeout=_FETCH_SECONDS_MAX, check=False, cwd=temporary
            )
        except subprocess.TimeoutExpired:
            raise ServerMissingError(f"Maven did not fetch Kafka within {_FETCH_SECONDS_MAX} s; try again.") from None
        if done.returncode:
            raise ServerMissingError(f"Maven cannot fetch Kafka: {(done.stdout + done.stderr)[-_ERROR_CHARACTERS:]}")
        _verify(jars, sums)
        try:
            jars.rename(folder)
        except OSError:
            # Another process was quicker; what it put there is checked like everything else.
            if not folder.is_dir():
                raise


def _verify(folder: Path, sums: dict[str, str]) -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}
    if found != sums:
        wrong = sorted(name for name in found.keys() | sums.keys() if found.get(name) != sums.get(name))
        shutil.rmtree(folder, ignore_errors=True)
        raise ServerMissingError(
            f"These jars of Kafka are not the ones that were pinned: {', '.join(wrong)}. They were removed; try again."
        )
