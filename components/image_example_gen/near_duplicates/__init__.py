"""Finds copies of a picture that were resized, recompressed, cropped or made brighter."""
