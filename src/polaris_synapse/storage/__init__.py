"""Storage: the SQL schema, its migrations, and the cache."""
