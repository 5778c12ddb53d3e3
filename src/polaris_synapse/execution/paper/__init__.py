"""The paper exchange: orders filled from the liquidity of a mirrored live book, every fill marked as simulated."""
