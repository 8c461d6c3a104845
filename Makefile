# Everything sets itself up: on a fresh machine `make demo` or `make test` is all it takes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

export HF_HUB_OFFLINE ?= 1

.PHONY: demo test test-slow check docs bench setup clean

demo: setup  ## a simulated shop, from raw files to slates, with figures
	$(BIN)/tailrec demo

test: setup  ## the fast tests, those on real data included where it is found
	$(BIN)/pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: setup  ## the long tests: large stores, long fits
	$(BIN)/pytest -m slow

check: setup  ## format, lint and types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

docs: setup  ## the API reference, as HTML under site/
	$(BIN)/pdoc -o site/api tailrec

bench: setup  ## the figures of the README (takes long; wants TAILREC_DATA)
	$(BIN)/python benchmarks/compare.py

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf .venv site build dist demo-shop .pytest_cache .mypy_cache .ruff_cache .hypothesis
