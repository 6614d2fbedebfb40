"""Who may ask what: rights of keys, read from a file that may change while services run (docs/access.md)."""
