"""What firewalls decided about addresses: single decisions, the log that keeps them, and what of them held when."""
