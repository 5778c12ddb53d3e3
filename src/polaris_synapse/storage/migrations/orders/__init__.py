"""Migrations of the database of orders."""
