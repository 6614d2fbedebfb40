"""One reader per format of traffic records; docs/feeds.md has the tables."""
