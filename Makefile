# Every target makes the environment that it needs. PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test verify lint types doctest docs bench check clean

demo: $(VENV)/demo
	$(BIN)/tensormoe demo

test: $(VENV)/dev
	$(BIN)/pytest -n auto

verify: $(VENV)/dev
	$(BIN)/python tests/support/survey.py

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev
	$(BIN)/mypy

doctest: $(VENV)/dev
	$(BIN)/pytest -q --doctest-modules tensormoe backends

docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks $(CASE) --json results/bench.json --figures results

check: test lint types doctest docs

clean:
	rm -rf $(VENV) build dist site

# A stamp for each set of extras: made again when what it was made from changes.
$(VENV)/%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what 'make $(MAKECMDGOALS)' needs into $(VENV); this takes some minutes the first time."
	$(PIP) -e ".[$*]"
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
