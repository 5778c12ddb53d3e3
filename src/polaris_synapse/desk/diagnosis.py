"""What `polaris doctor` checks: the machine, the settings, the data directory, and the desk if it runs."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import httpx2
from msgspec import Struct

from polaris_synapse.compiled import cores_in_use, plain_packages
from polaris_synapse.desk.loading import ConfigurationError, find_config, load_settings
from polaris_synapse.desk.place import DeskPlace, default_data_directory, operator_key_file, running_place
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.matching.core.books import BOOK_IN_USE, BOOK_IS_COMPILED

_DISK_BYTES_MIN: Final = 1_000_000_000
_SKEW_MS_MAX: Final = 1_000

Verdict = Literal["good", "note", "bad"]


class Finding(Struct, frozen=True):
    """One check. ``note``: worth knowing, nothing to mend."""

    subject: str
    verdict: Verdict
    sentence: str


def diagnose(config: str | None, *, offline: bool) -> list[Finding]:
    """Every check, in the order in which a person would mend things."""
    findings = [
        _python(),
        _sqlite(),
        Finding("Order book", "good" if BOOK_IS_COMPILED else "note", BOOK_IN_USE),
        Finding("Order path", "note" if plain_packages() else "good", cores_in_use()),
    ]
    try:
        settings = load_settings(config)
    except ConfigurationError as error:
        return [*findings, Finding("Settings", "bad", str(error))]
    findings.append(Finding("Settings", "good", f"{find_config(config)} is valid."))
    directory = settings.data_directory or default_data_directory()
    findings += _directory(directory)
    place = running_place(directory)
    findings += _running(place) if place is not None else _ports(settings)
    if not offline:
        findings.append(_venue(settings))
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("Python", "good", f"{version}.")
    return Finding("Python", "bad", f"{version} is not supported; use 3.11, 3.12 or 3.13.")


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info >= (3, 34):
        return Finding("SQLite", "good", f"{sqlite3.sqlite_version}.")
    return Finding("SQLite", "bad", f"{sqlite3.sqlite_version} is too old; 3.34 or newer is needed.")


def _directory(directory: Path) -> Iterator[Finding]:
    if not directory.exists():
        yield Finding("Data directory", "note", f"{directory} does not exist yet; the first start makes it.")
        return
    free = shutil.disk_usage(directory).free
    if free < _DISK_BYTES_MIN:
        yield Finding("Disk", "bad", f"only {free // 1_000_000} MB are free at {directory}; make room before trading.")
    else:
        yield Finding("Disk", "good", f"{free // 1_000_000_000} GB are free at {directory}.")
    key = operator_key_file(directory)
    if not key.is_file():
        yield Finding("Operator key", "note", "there is none yet; the first start makes it.")
    elif stat.S_IMODE(key.stat().st_mode) & 0o077:
        yield Finding("Operator key", "bad", f"others can read {key}; run: chmod 600 {key}")
    else:
        yield Finding("Operator key", "good", "only you can read it.")


def _ports(settings: DeskSettings) -> Iterator[Finding]:
    taken = [port for port in settings.ports.model_dump().values() if port and not _is_free(settings.host, port)]
    if taken:
        listed = ", ".join(str(port) for port in taken)
        yield Finding("Ports", "bad", f"{listed} are taken by another program; stop it or use: polaris up --free-ports")
    else:
        yield Finding("Ports", "good", "all seven are free.")
    yield Finding("Desk", "note", "it is not running; start it with: polaris up")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _running(place: DeskPlace) -> Iterator[Finding]:
    for service in sorted(place.ports):
        url = f"{place.url(service)}/ready"
        try:
            body = httpx2.get(url, timeout=5).json()
        except (httpx2.TransportError, ValueError):
            yield Finding(service, "bad", f"it does not answer at {url}.")
            continue
        failing = "; ".join(str(text) for text in body.get("failing", {}).values())
        yield Finding(service, "bad" if failing else "good", failing or "ready.")


def _venue(settings: DeskSettings) -> Finding:
    url = f"{settings.feed.binance_rest_url}/api/v3/time"
    try:
        began_ms = _now_ms()
        response = httpx2.get(url, timeout=settings.feed.probe_seconds_max)
        ended_ms = _now_ms()
        skew_ms = int(response.json()["serverTime"]) - (began_ms + ended_ms) // 2
    except (httpx2.TransportError, ValueError, KeyError, TypeError):
        return Finding(
            "Live market data", "note", "the venue cannot be reached; the desk would run on a simulated market."
        )
    if abs(skew_ms) > _SKEW_MS_MAX:
        return Finding("Clock", "bad", f"this machine's clock is {skew_ms} ms off the venue's; set it with NTP.")
    return Finding(
        "Live market data", "good", f"the venue answers in {ended_ms - began_ms} ms, the clock agrees to {skew_ms} ms."
    )


def _now_ms() -> int:
    from polaris_synapse.bus.clock import SystemClock

    return SystemClock().now_ns() // 1_000_000
