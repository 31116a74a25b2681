"""Class folders of images to split, checked examples."""
