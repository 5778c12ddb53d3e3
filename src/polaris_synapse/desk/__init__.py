"""The composition root: settings, first start, and the wiring of all rooms into one running desk."""
