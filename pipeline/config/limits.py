"""Limits of what the config accepts."""

# Far above what anybody needs, and below what the libraries can count.
MAX_PARTS = 1_000_000
MAX_EPOCHS = 100_000
MAX_UNITS = 100_000
MAX_WAIT_SECS = 30 * 86_400

# Smallest augmentation. Far below it 1 + share rounds to 1, and tf.image rejects an empty range.
SMALLEST_CHANGE = 0.001
