"""Events that matter, linked across days by what they share. See docs/campaigns.md."""
