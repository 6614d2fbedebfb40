"""The command `appia`."""
