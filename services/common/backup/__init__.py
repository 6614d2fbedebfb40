"""Backup and restore of a state directory: docs/backup.md."""
