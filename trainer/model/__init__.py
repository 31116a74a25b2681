"""The classifier: trunk, top blocks and head."""
