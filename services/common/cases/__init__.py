"""Cases: events and what is known of them in one signed file to hand over (docs/cases.md)."""
