"""What was new: events that are far from everything before them. See docs/novelty.md."""
