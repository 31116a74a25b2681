"""Pusher whose push appears whole or not at all."""
