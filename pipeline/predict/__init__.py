"""What `thaw predict` is given, its rows as text, and the same as a Beam job."""
