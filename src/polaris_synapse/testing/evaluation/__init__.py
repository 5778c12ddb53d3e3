"""Honest evaluation of the agents: real costs, baselines, and how much of a result chance alone could do."""
