"""What a service shows of itself: measures, whether it lives and is ready, and what it tells who supervises it."""
