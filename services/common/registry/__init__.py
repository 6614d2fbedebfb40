"""Who serves what right now: a port, a file adapter for one machine and an etcd adapter for several."""
