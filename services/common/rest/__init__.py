"""Encryption of what lies on disk: the keys, and how the records of a log are sealed with them."""
