# What a contributor runs; see CONTRIBUTING.md. PYTHON=python3.12 make setup takes another Python.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test test-slow lint docs

setup:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[test]' pre-commit

test:
	$(BIN)/python -m pytest

test-slow:
	$(BIN)/python -m pytest -m slow

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs:
	$(BIN)/python -m benchmarks.docs
