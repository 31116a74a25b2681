"""Pre-trained networks: a table of them, and how they are built."""
