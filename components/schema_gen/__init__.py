"""SchemaGen, plus the image feature that statistics leave out."""
