"""Converts a pushed model to other formats, and proves that each answers as the model does."""
