"""What the experiments learn from: images and texts in files as they are published, and what is at hand."""
