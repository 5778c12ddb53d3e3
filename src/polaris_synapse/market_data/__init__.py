"""Market data: feeds, normalised books, trades, candles and marks, and their recording and replay."""
