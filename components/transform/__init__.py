"""Transform in batches of bounded memory, carrying the data card along."""
