"""The two networks of the bundled model and how they are trained."""
