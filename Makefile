# Every target makes the environment that it needs. PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
# What `make demo` trains on: torch, jax, or torch,jax for both.
FRAMEWORK ?= torch
VENV := .venv
BIN := $(VENV)/bin
INSTALL := install --quiet --disable-pip-version-check
PIP := $(BIN)/pip $(INSTALL) -c constraints.txt
# A framework that is named here and missing is an error; one that is not named is left out.
TENSORMOE_TEST_BACKENDS ?= numpy,torch,jax
export TENSORMOE_TEST_BACKENDS

# Workers take tests from each other at the end: some tests take as long as a thousand others.
PYTEST := $(BIN)/pytest -n auto --dist worksteal

.PHONY: demo test integrations verify lint types doctest docs imports bench experiments oldest dist coq chromium proofs certificates check clean

demo: $(VENV)/demo,$(FRAMEWORK)
	$(BIN)/tensormoe demo

test: $(VENV)/dev
	$(PYTEST) --ignore=tests/integrations

integrations: $(VENV)/integrations
	$(PYTEST) tests/integrations

verify: $(VENV)/dev
	$(BIN)/python tests/support/survey.py

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev
	$(BIN)/mypy

# Hypothesis's own profile for continuous integration: a machine with other work to do is no fault.
doctest: $(VENV)/dev
	$(BIN)/pytest -q --hypothesis-profile=ci --doctest-modules tensormoe backends

docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

imports:
	$(PYTHON) tests/house/drawing.py

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks $(CASE) --json results/bench.json --figures results

# What is missing in benchmarks/experiments/results, and docs/claims.md; NAME=selection for one of them.
experiments: $(VENV)/experiments
	$(BIN)/python -m benchmarks.experiments $(NAME)

# The tests on the oldest versions that pyproject.toml allows, in an environment of their own.
oldest: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear $(VENV)-oldest
	$(VENV)-oldest/bin/pip $(INSTALL) -c constraints-oldest.txt -e ".[torch,jax,test]"
	$(VENV)-oldest/bin/pytest -n auto --dist worksteal --ignore=tests/integrations --ignore=tests/mutants --ignore=tests/docs

# The wheel and the source distribution; the wheel alone, in an empty environment, with NumPy and no framework.
dist: $(VENV)/release
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv --clear build/empty
	build/empty/bin/pip $(INSTALL) -c constraints.txt dist/*.whl
	cd build && empty/bin/python ../tests/house/smoke.py

check: test lint types doctest integrations docs imports dist

# Coq (8.16 or later) from the system's packages, where it is missing: tests that need it are skipped without it.
coq:
	@.ci/install coq coqc

# Chromium from the system's packages, where it is missing: tests of pages are skipped without it.
chromium:
	@.ci/install chromium chromium chromium-browser google-chrome

# The theorems about gates, and what they assume.
proofs: coq
	$(PYTHON) proofs/check.py

# Certificates of the named families, the gallery and 200 random networks, each checked by Coq.
certificates: $(VENV)/dev coq
	HYPOTHESIS_PROFILE=deep TENSORMOE_TEST_COQ=1 $(PYTEST) tests/verification/coq

clean:
	rm -rf $(VENV) $(VENV)-oldest build dist site

# A stamp for each set of extras: made again when what it was made from changes.
$(VENV)/%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what 'make $(MAKECMDGOALS)' needs into $(VENV); this takes some minutes the first time."
	$(PIP) -e ".[$*]"
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
