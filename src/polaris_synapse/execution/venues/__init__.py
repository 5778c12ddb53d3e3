"""Venues: the port that every adapter stands behind."""
