"""The server: a model's versions under the protocols that clients already speak."""
