"""The pure part of matching: the book, its port, triggers, the call auction, and the core that folds the inbox."""

from polaris_synapse.compiled import compiled_folders

# Compiled modules, where they are there, come before their sources. So this stands before the first of them.
__path__ = [*compiled_folders(__name__), *__path__]

from polaris_synapse.matching.core.matching import MatchingCore

__all__ = ["MatchingCore"]
