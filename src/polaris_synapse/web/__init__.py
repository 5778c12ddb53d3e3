"""The HTTP foundation that every service shares: errors, strict bodies, authentication, documentation, servers."""
