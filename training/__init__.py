"""How the demo model was made: a picture world, a tokenizer, a VQGAN and a language model."""
