"""Matching: the order books of the internal venue, in price-time priority."""
