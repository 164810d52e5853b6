"""What fine-tuning costs and gives: ``python -m benchmarks.finetune --help``."""
