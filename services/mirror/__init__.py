"""Brings days from an ingester elsewhere into a folder of this machine, for its replicas."""
