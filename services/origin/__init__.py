"""Gives the days of a state directory to mirrors on other machines."""
