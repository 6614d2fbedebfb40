"""The ingester: the one writer. Takes events in, makes them durable, embeds them, seals days."""
