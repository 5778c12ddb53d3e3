"""Risk: accounts, the double-entry ledger, positions, limits, circuit breakers and the kill switch."""
