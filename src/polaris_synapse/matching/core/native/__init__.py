"""The compiled order book. Where it is not built, ``polaris_synapse.matching.core.books`` says so and does without.

``store`` keeps the memory, ``ladder`` the order of prices and orders, ``taking`` and ``commands`` do what the plain
book's modules of those names do, ``calling`` uncrosses the book; ``book`` is the port over all of them.
"""
