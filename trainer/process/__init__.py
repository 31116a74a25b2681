"""One process among several: who it is, what it may wait for, how it ends."""
