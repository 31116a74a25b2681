"""Decides whether the fine-tuned model replaces its baseline; see docs/gate.md."""
