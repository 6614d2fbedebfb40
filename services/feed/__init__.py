"""Sending traffic records that were kept elsewhere: readers per format, a rate, a sender, a summary."""
