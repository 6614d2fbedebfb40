"""Values that configure others: kept in a folder or in etcd, sealed, checked against a schema, followed by polling."""
