"""The model as others meet it: versions that were pushed, and how they are asked."""
