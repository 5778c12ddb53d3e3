"""The pure part of matching: the book, its port, triggers, the call auction, and the core that folds the inbox."""

from __future__ import annotations

from polaris_synapse.matching.core.matching import MatchingCore

__all__ = ["MatchingCore"]
