"""Evaluation: scorers, prompt sets, comparison of models, reports. Data sets are the user's own."""
