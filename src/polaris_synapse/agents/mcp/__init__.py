"""The desk for MCP clients: a process of its own that speaks to the running desk over its REST interface."""
