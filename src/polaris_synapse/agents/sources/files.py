"""A drop folder: whatever a person or a program puts there is read once, as outside text like any other."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import anyio.to_thread
from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.agents.sources.documents import RawEntry, Times, items_of
from polaris_synapse.agents.sources.feeds import Parser, parse_json_file, parse_reddit_export, parse_x_export
from polaris_synapse.agents.sources.port import Failure, Item, Polled, SourceError, SourceState
from polaris_synapse.agents.sources.settings import FetchSettings, SourcesSettings
from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import SourceKind

_FILES_MAX: Final = 1_000
_TEXT_SUFFIXES: Final = frozenset({".txt", ".md"})
_JSON_SUFFIXES: Final = frozenset({".json", ".jsonl", ".js"})
#: For each kind in the settings: how its JSON files are read, and what kind of evidence they are.
_FORMATS: Final[dict[str, tuple[Parser, SourceKind]]] = {
    "folder": (parse_json_file, SourceKind.NARRATIVE),
    "x_export": (parse_x_export, SourceKind.SOCIAL),
    "reddit_export": (parse_reddit_export, SourceKind.SOCIAL),
}


class _Found(Struct, frozen=True):
    name: str
    mark: str
    modified_ns: int
    body: bytes


class FolderSource:
    """See the module. A file that changes is read again; what it repeats has the same digest and counts once."""

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        folder: Path,
        clock: Clock,
        interval_seconds: int,
        settings: SourcesSettings,
        fetch: FetchSettings,
    ) -> None:
        self.name = name
        self.kind = kind
        self.interval_seconds = interval_seconds
        self._parse, self._evidence = _FORMATS[kind]
        self._folder = folder
        self._clock = clock
        self._settings = settings
        self._file_bytes_max = fetch.body_bytes_max

    async def poll(self, state: SourceState, /) -> Polled:
        """See Source. One file that cannot be read does not keep the others from being read."""
        try:
            found, marks, dropped = await anyio.to_thread.run_sync(self._changed, state.marks)
        except OSError as error:
            sentence = f"The folder cannot be read ({error.strerror})."
            raise SourceError(Failure.UNREACHABLE, sentence) from None
        now_ns = self._clock.now_ns()
        times = Times(
            now_ns=now_ns,
            age_seconds_max=self._settings.item_age_seconds_max,
            future_seconds_max=self._settings.item_future_seconds_max,
        )
        items: list[Item] = []
        for file in found:
            try:
                entries = self._entries(file)
            except SourceError:
                dropped += 1
                continue
            room = self._settings.items_max - len(items)
            read, left = items_of(entries, source=self.name, kind=self._evidence, times=times, items_max=room)
            items += read
            dropped += left
        items.sort(key=lambda item: (item.published_time_ns, item.digest))
        return Polled(
            events=tuple(items), state=replace(state, marks=marks), dropped=dropped, unchanged=not (found or dropped)
        )

    def _entries(self, file: _Found) -> list[RawEntry]:
        if Path(file.name).suffix in _TEXT_SUFFIXES:
            return [text_entry(file.body, file.name, file.modified_ns)]
        # What is dropped without a date is as old as its file.
        return [
            entry if entry.published_ns else replace(entry, published_ns=file.modified_ns)
            for entry in self._parse(file.body)
        ]

    def _changed(self, known: dict[str, str]) -> tuple[list[_Found], dict[str, str], int]:
        """Files that are new or changed, the marks of all, and how many could not be taken."""
        names = sorted(entry.name for entry in os.scandir(self._folder))
        wanted = [name for name in names if Path(name).suffix in _TEXT_SUFFIXES | _JSON_SUFFIXES]
        found: list[_Found] = []
        marks: dict[str, str] = {}
        dropped = max(0, len(wanted) - _FILES_MAX)
        for name in wanted[:_FILES_MAX]:
            try:
                file = self._read(name, known)
            except OSError:
                dropped += known.get(name) is None
                continue
            if isinstance(file, str):
                marks[name] = file
                continue
            marks[name] = file.mark
            found.append(file)
        return found, marks, dropped

    def _read(self, name: str, known: dict[str, str]) -> _Found | str:
        """A changed file, or the mark of one that has not changed. Raises OSError for what is no plain file."""
        # A link could lead to a file that was never meant to be read here.
        descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._file_bytes_max:
                raise OSError("not a plain file of a readable size")
            mark = f"{status.st_size}.{status.st_mtime_ns}"
            if known.get(name) == mark:
                return mark
            return _Found(name, mark, status.st_mtime_ns, file.read(self._file_bytes_max + 1)[: self._file_bytes_max])


def text_entry(body: bytes, name: str, modified_ns: int) -> RawEntry:
    """A text file as an entry: its first line is the title, and it is as old as the file."""
    first, _, rest = body.decode("utf-8", "replace").lstrip("\ufeff\n\r ").partition("\n")
    return RawEntry(entry_id=name, title=first.lstrip("# "), body=rest, published_ns=modified_ns)
