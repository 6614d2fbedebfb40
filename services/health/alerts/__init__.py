"""Alerts: rules over readings, an engine without clock or disk, and messages that arrive (docs/alerts.md)."""
