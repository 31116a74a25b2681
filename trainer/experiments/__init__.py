"""Both fits again, on other parts of the images or from other seeds; nothing is exported."""
