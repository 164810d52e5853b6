"""Fine-tuning: data, examples, the layers that are trained, the loop, and what it leaves."""
