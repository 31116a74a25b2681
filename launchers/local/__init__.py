"""Runs the workers of a node as processes of this machine."""
