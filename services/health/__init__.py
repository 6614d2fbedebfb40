"""The health service: knows how things should be, sees how they are, and acts (docs/health.md)."""
