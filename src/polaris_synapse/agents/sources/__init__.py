"""Outside texts and figures: adapters that fetch them, and quarantined readers that turn them into numbers."""
