"""Appia: the memory of a network's defence."""
