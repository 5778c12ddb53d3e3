"""Monitoring: logs, metrics, health and heartbeats."""
