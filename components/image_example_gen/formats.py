"""File names that are taken for images. Imports nothing, so the command line may use it."""

# What TensorFlow's decoder reads. Lower case, with the dot.
EXTENSIONS: frozenset[str] = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp"})
