"""Agents: Jarvis and the analysts whose proposals become orders only through code that checks them."""
