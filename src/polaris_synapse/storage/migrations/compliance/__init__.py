"""Migrations of the database of compliance."""
