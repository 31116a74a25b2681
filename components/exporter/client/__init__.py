"""What is written beside exports, for those who use them: needs nothing of Thaw."""
