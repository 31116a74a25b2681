"""`thaw inspect`: an answer about the images before anything is trained."""
