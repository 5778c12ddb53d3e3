"""Where market data comes from: feeds behind one port."""
