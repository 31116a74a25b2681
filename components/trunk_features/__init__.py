"""The frozen trunk, run once per image."""
