"""What analysts said about events: remarks, the log that keeps them, and what of them stands."""
