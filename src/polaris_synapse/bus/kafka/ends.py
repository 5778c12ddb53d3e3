"""Where a partition's log begins and ends, asked until a leader answers."""

from __future__ import annotations

import time
from typing import Any, Final

_ATTEMPT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05


def watermarks(consumer: Any, position: Any, seconds_max: float) -> tuple[int, int]:
    """The first offset and the one after the last. Blocking. Raises KafkaException where nobody answers in time.

    A partition whose leader has just changed, or that was just made, has nobody to ask for a moment.
    """
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + seconds_max
    while True:
        try:
            found = consumer.get_watermark_offsets(position, timeout=min(_ATTEMPT_SECONDS, seconds_max), cached=False)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
            continue
        if found is not None:
            return int(found[0]), int(found[1])
