"""Merkle trees, held to the reference values of RFC 6962's own implementation."""

from __future__ import annotations

import pytest

from polaris_synapse.compliance.merkle import (
    MerkleFrontier,
    inclusion_proof,
    merkle_root,
    proves_inclusion,
)

#: The leaves and roots of Certificate Transparency's reference tests.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_reference_roots(size: int) -> None:
    """The trees over the first leaves have the published roots."""
    assert merkle_root(LEAVES[:size]).hex() == ROOTS[size]


def test_the_proof_of_the_reference_tests() -> None:
    """The published inclusion proof of leaf 6 among 8 comes out hash for hash."""
    assert [digest.hex() for digest in inclusion_proof(LEAVES, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_leaf_of_every_small_tree_is_proved_and_nothing_else() -> None:
    """Proofs hold at their own place in their own tree, and fail for another leaf, place, size or a lost hash."""
    leaves = [bytes([n]) for n in range(34)]
    for size in range(1, 35):
        tree = leaves[:size]
        root = merkle_root(tree)
        for index in range(size):
            proof = inclusion_proof(tree, index)
            assert proves_inclusion(tree[index], index, size, proof, root)
            assert not proves_inclusion(b"other", index, size, proof, root)
            assert not proves_inclusion(tree[index], size, size, proof, root)
            if size > 1:
                assert not proves_inclusion(tree[index], (index + 1) % size, size, proof, root)
                assert not proves_inclusion(tree[index], index, size, proof[:-1], root)
                assert not proves_inclusion(tree[index], index, size, [*proof, root], root)
    with pytest.raises(IndexError):
        inclusion_proof(leaves, 34)


def test_a_tree_grows_on_from_its_frontier() -> None:
    """A tree restored from its frontier continues as if it had never been put away."""
    whole = MerkleFrontier()
    for size, leaf in enumerate(LEAVES, start=1):
        whole.append(leaf)
        restored = MerkleFrontier(whole.size, whole.hashes)
        assert restored.root().hex() == whole.root().hex() == ROOTS[size]
        whole = restored


@pytest.mark.parametrize("size, hashes", [(1, 0), (0, 1), (3, 1), (-1, 0)])
def test_a_frontier_that_cannot_be_is_an_error(size: int, hashes: int) -> None:
    """The number of hashes must fit the number of leaves."""
    with pytest.raises(ValueError, match="frontier"):
        MerkleFrontier(size, [b"x" * 32] * hashes)
