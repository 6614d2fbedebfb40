"""Day chunks on disk: names, formats, the one writer and the many readers."""
