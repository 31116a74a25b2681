"""Packaging. The metadata is in pyproject.toml; Beam's `--setup_file` asks for this file."""

from setuptools import setup

setup()
