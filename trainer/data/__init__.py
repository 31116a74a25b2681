"""What the fits learn from: images, examples, records, the data card."""
