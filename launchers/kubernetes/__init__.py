"""Runs the workers of a node as one Indexed Job, or one JobSet, of Kubernetes."""
