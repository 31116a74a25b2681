"""The two fits, and how one resumes."""
