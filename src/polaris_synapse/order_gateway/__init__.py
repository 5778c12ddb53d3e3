"""Order gateway: REST, WebSocket and Binance-compatible order entry, with authentication and rate limits."""

from polaris_synapse.compiled import compiled_folders

# Compiled modules, where they are there, come before their sources. So this stands before the first of them.
__path__ = [*compiled_folders(__name__), *__path__]
