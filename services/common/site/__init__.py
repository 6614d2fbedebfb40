"""What is secret about a site, made in one folder on the controller (docs/site.md)."""
