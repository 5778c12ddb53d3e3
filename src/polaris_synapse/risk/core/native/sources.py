"""What a compiled risk core was made from, as the build notes it and the running desk compares it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

#: The file that the build leaves beside what it compiled: the digest, then each source's package and name.
BUILT_FROM: Final = "built_from.txt"


def digest_of(sources: Iterable[bytes]) -> str:
    """One digest of all sources, in their order."""
    digest = blake2b(digest_size=16)
    for source in sources:
        digest.update(len(source).to_bytes(8, "big") + source)
    return digest.hexdigest()
