"""The server: an API in OpenAI's form and a page, on one thread that owns the models."""
