"""Merkle trees of RFC 6962, section 2.1: leaves ``SHA-256(0x00 || data)``, nodes ``SHA-256(0x01 || left || right)``.

A tree of n leaves splits at the largest power of two smaller than n. Hashes are 32 raw bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two subtrees."""
    return sha256(b"\x01" + left + right).digest()


class MerkleFrontier:
    """A growing tree in logarithmic space: the roots of its full subtrees, the largest first.

    ``size`` leaves have one such root for each bit that is set in ``size``. Raises ValueError for another number.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has another frontier than {len(hashes)} hashes")
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The frontier itself, from which the tree can grow on."""
        return tuple(self._hashes)

    def append(self, data: bytes) -> None:
        """Add a leaf."""
        digest = leaf_hash(data)
        size, hashes = self.size, self._hashes
        while size & 1:
            digest = node_hash(hashes.pop(), digest)
            size >>= 1
        hashes.append(digest)
        self.size += 1

    def root(self) -> bytes:
        """The root of all leaves so far; the hash of nothing for a tree without leaves."""
        if not self._hashes:
            return sha256(b"").digest()
        *before, root = self._hashes
        for left in reversed(before):
            root = node_hash(left, root)
        return root


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over the data of some leaves."""
    frontier = MerkleFrontier()
    for data in leaves:
        frontier.append(data)
    return frontier.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from the leaf at ``index`` to the root, the lowest first. Raises IndexError."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"there is no leaf {index} among {len(leaves)}")
    proof: list[bytes] = []
    level = [leaf_hash(data) for data in leaves]
    position = index
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        # An odd one out moves up unchanged, which is what splitting at a power of two comes to.
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level, position = above, position // 2
    return proof


def proves_inclusion(data: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows that ``data`` is leaf ``index`` of the tree with ``size`` leaves and this root."""
    if not 0 <= index < size:
        return False
    digest, position, last = leaf_hash(data), index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            digest = node_hash(sibling, digest)
            # Levels at which this node was the odd one out have no sibling in the proof.
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            digest = node_hash(digest, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and digest == root
