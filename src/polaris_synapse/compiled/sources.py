"""What is compiled, and what it was made from, as the build notes it and the running desk compares it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

#: The modules that every order passes through, by package. The others are as quick as they need to be. Modules that
#: define structs which these read stay plain: compiled code has to know a struct before it begins.
COMPILED: Final[dict[str, tuple[str, ...]]] = {
    "polaris_synapse.agents.core": ("following",),
    "polaris_synapse.bus": ("cascade", "publishing"),
    "polaris_synapse.compliance.core": ("recording",),
    "polaris_synapse.matching.core": ("market",),
    "polaris_synapse.order_gateway": ("order_parsing", "viewing"),
    "polaris_synapse.risk.core": (
        "answers",
        "check_limits",
        "checks",
        "context",
        "fees",
        "folding",
        "ledger",
        "leverage",
        "losses",
        "orders",
        "positions",
        "reports",
        "reservations",
        "valuation",
    ),
}
#: The compiled module of each package that makes structs and compares their layouts with the real classes.
LAYOUTS: Final = "layouts"
#: The file that the build leaves beside what it compiled: the digest, then each source's package and name.
BUILT_FROM: Final = "built_from.txt"


def folder_of(package: str) -> str:
    """Where the compiled modules of a package lie, from the folder of this file on."""
    return f"built/{package}"


def digest_of(sources: Iterable[bytes]) -> str:
    """One digest of all sources, in their order."""
    digest = blake2b(digest_size=16)
    for source in sources:
        digest.update(len(source).to_bytes(8, "big") + source)
    return digest.hexdigest()
