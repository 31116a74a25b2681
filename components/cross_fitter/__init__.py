"""Repeats both fits on folds of all images, so that each of them is evidence for the gate."""
