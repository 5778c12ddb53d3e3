"""Talking to the desk in plain words, without any model: what was meant, what would happen, and only then doing it."""
