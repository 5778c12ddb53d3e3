"""The deterministic simulator: the whole desk in one process, where one seeded generator decides all that happens.

``world`` brings it together: the real cores and the real host over a simulated ``disk``, the execution service's work
(``link``), a hostile ``exchange``, and ``clients`` that behave at random. ``checkers`` look at all that is said and
done. ``runner`` runs seeds; a seed gives the same run on every machine.
"""
