"""The HTTP API: a thin layer over the client, which asks the replicas."""
