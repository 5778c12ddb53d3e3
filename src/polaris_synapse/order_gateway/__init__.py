"""Order gateway: REST, WebSocket and Binance-compatible order entry, with authentication and rate limits."""
