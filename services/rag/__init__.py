"""Read-only replicas that answer questions about the days on disk, and their client."""
