"""Several replicas that train as one."""
