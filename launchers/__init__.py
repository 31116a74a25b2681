"""Several processes, here or on a cluster, that run one node together."""
