"""Where artifacts are kept, and how a process reaches them."""
