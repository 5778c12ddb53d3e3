"""Checks and load against a running deployment, whatever it runs on."""
