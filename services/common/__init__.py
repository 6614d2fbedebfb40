"""What every service builds on; it knows no service."""
