"""The history of the two databases' tables, run by alembic when a database is behind."""
