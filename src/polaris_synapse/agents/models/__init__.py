"""Language models behind one port: the vendors, budgets round them, and the store of every call."""
