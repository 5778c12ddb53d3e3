"""Alerts: what a person should hear of at once, in few words, through the channels that the settings name."""
