"""Recordings are written so that replay reads them, within bounds, and damaged files are refused with their place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from tests.unit.market_data.test_frames import TICKER, frame

from polaris_synapse.market_data.recording import Recorder, RecordingError, read_recording

FRAME = frame("btcusdt@bookTicker", TICKER)
SNAPSHOT = b'{"lastUpdateId":1,"bids":[],"asks":[]}'


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    """Times, frames and snapshots come back as they were, and snapshots know their symbol."""
    recorder = Recorder(tmp_path)
    for time_ns, line in ((1, SNAPSHOT), (2, FRAME), (3, SNAPSHOT)):
        recorder.write("BTCUSDT", time_ns, line)
    recorder.close()
    (path,) = recorder.files("BTCUSDT")
    frames = list(read_recording(path))
    assert [(f.time_ns, f.symbol, f.frame, f.is_snapshot) for f in frames] == [
        (1, "BTCUSDT", SNAPSHOT, True),
        (2, "BTCUSDT", FRAME, False),
        (3, "BTCUSDT", SNAPSHOT, True),
    ]


def test_files_rotate_and_the_oldest_go(tmp_path: Path) -> None:
    """A file ends at its size and only so many are kept, the newest."""
    recorder = Recorder(tmp_path, file_bytes_max=len(FRAME) * 2, files_max=3)
    for time_ns in range(20):
        recorder.write("BTCUSDT", time_ns, FRAME)
    recorder.close()
    files = recorder.files("BTCUSDT")
    assert len(files) == 3
    assert [f.time_ns for path in files for f in read_recording(path)] == list(range(14, 20))


def test_a_torn_end_keeps_what_came_before_it(tmp_path: Path) -> None:
    """A recorder that was killed leaves a cut file, whose whole lines are still good."""
    path = tmp_path / "torn.gz"
    whole = gzip.compress(b"".join(b"%d %s\n" % (n, FRAME) for n in range(2000)), compresslevel=1)
    path.write_bytes(whole[: len(whole) // 2])
    frames = list(read_recording(path))
    assert 0 < len(frames) < 2000
    assert all(f.frame == FRAME for f in frames[:-1])


@pytest.mark.parametrize(
    "text, told",
    [
        (b"", "no stream frame"),
        (b"1 " + SNAPSHOT + b"\n", "no stream frame"),
        (b"nonsense\n", "line 1"),
        (b"1 " + FRAME + b"\n-5 " + FRAME + b"\n", "line 2"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: bytes, told: str) -> None:
    """The error names the file and the line."""
    path = tmp_path / "bad.gz"
    path.write_bytes(gzip.compress(text))
    with pytest.raises(RecordingError, match=told) as caught:
        list(read_recording(path))
    assert "bad.gz" in str(caught.value)


def test_a_file_that_is_not_gzip_is_refused(tmp_path: Path) -> None:
    """Plain text is no recording."""
    path = tmp_path / "plain.gz"
    path.write_bytes(b"1 " + FRAME)
    with pytest.raises(RecordingError, match=r"plain\.gz"):
        list(read_recording(path))


def test_a_symbol_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    """A hostile symbol does not leave the folder."""
    with pytest.raises(ValueError, match="cannot name"):
        Recorder(tmp_path).write("../X", 1, FRAME)
