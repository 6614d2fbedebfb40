"""Frames on the bus: keys, sealing and opening, replay rules. Format: docs/wire-format.md."""
