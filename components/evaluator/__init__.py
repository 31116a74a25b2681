"""Evaluator that insists on a baseline and keeps a row for every image."""
