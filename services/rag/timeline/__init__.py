"""What a host did hour by hour, and where its behaviour changed. See docs/timeline.md."""
