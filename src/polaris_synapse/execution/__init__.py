"""Execution: venues and their adapters, smart routing, algorithms and reconciliation."""
