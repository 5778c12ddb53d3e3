"""Looks at SQLite's write-ahead log before SQLite does, to tell a torn end from damage in the middle.

SQLite recovers a write-ahead log by reading frames until the first one whose checksum is wrong, and forgets the rest
without a word. That is right for a write that a crash cut short. It is not right when a byte of an old frame has
flipped: then commits after it, which were acknowledged, vanish. A frame's checksum continues the one stored in the
frame before, so frames behind a damaged one can still be told genuine from left-over ones.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct

_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}
_MASK: Final = 0xFFFFFFFF


class WalCondition(Struct, frozen=True):
    """What a write-ahead log looks like.

    ``committed_frames``: what SQLite will keep. ``torn_bytes``: bytes of a write that never became a commit, which
    SQLite will drop. ``lost_commits``: genuine commits behind a damaged frame, which SQLite would drop too.
    """

    committed_frames: int = 0
    torn_bytes: int = 0
    lost_commits: int = 0


def _checksum(order: str, data: bytes, first: int, second: int) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    pairs = iter(words)
    for word in pairs:
        first = (first + word + second) & _MASK
        second = (second + next(pairs) + first) & _MASK
    return first, second


def inspect_wal(path: Path) -> WalCondition:
    """Read the write-ahead log at ``path``; a missing or empty one is in perfect order. Raises OSError."""
    try:
        with path.open("rb") as file:
            return _inspect(file, path.stat().st_size)
    except FileNotFoundError:
        return WalCondition()


def _inspect(file: BinaryIO, size_bytes: int) -> WalCondition:
    header = file.read(_HEADER_BYTES)
    if not header:
        return WalCondition()
    if len(header) < _HEADER_BYTES:
        return WalCondition(torn_bytes=len(header))
    magic, _version, page_bytes, _sequence, salt_1, salt_2, sum_1, sum_2 = struct.unpack(">8I", header)
    order = _MAGIC.get(magic, "")
    if not order or _checksum(order, header[:24], 0, 0) != (sum_1, sum_2):
        # Without its header nothing in the log can be told genuine. A log that never got beyond its first write is
        # a torn one; anything longer held commits.
        frames = (size_bytes - _HEADER_BYTES) // (_FRAME_HEADER_BYTES + page_bytes) if 512 <= page_bytes <= 65536 else 1
        return WalCondition(torn_bytes=size_bytes, lost_commits=min(frames, 1))
    return _inspect_frames(file, order, page_bytes, (salt_1, salt_2), (sum_1, sum_2))


def _inspect_frames(
    file: BinaryIO, order: str, page_bytes: int, salts: tuple[int, int], start: tuple[int, int]
) -> WalCondition:
    committed = frames = torn_bytes = lost = 0
    damaged = False
    # What the next frame's checksum may continue: the sum stored before it and, where that differs, the computed one.
    continues = {start}
    while frame := file.read(_FRAME_HEADER_BYTES + page_bytes):
        frames += 1
        if len(frame) < _FRAME_HEADER_BYTES:
            torn_bytes += len(frame)
            break
        _page, pages_after_commit, salt_1, salt_2, sum_1, sum_2 = struct.unpack(">6I", frame[:_FRAME_HEADER_BYTES])
        ours = (salt_1, salt_2) == salts
        computed: set[tuple[int, int]] = set()
        if len(frame) == _FRAME_HEADER_BYTES + page_bytes and (ours or not damaged):
            computed = {
                _checksum(order, frame[_FRAME_HEADER_BYTES:], *_checksum(order, frame[:8], *before))
                for before in continues
            }
        genuine = ours and (sum_1, sum_2) in computed
        # Frames with other salts are left over from before the log was last started afresh.
        torn_bytes += len(frame) if ours else 0
        if not genuine:
            damaged = True
        elif damaged:
            lost += bool(pages_after_commit)
        elif pages_after_commit:
            committed, torn_bytes = frames, 0
        continues = {(sum_1, sum_2)} if genuine else {(sum_1, sum_2)} | computed
    return WalCondition(committed_frames=committed, torn_bytes=torn_bytes, lost_commits=lost)
