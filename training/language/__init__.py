"""What people say about the picture world, and what the model says."""
