# Every target works as the first command on a fresh clone: CPython 3.11+ with pip and venv, git and make are all it takes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-from-lock

.PHONY: setup demo local test simulate simulate-crashes simulate-mutants check format lock clean help

help:             ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/	/'

setup: $(STAMP)   ## Build .venv from requirements.lock

# uv installs the hashed lock in seconds; pip does the same when uv cannot be had.
$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5' 2>/dev/null || true
	@if test -x $(BIN)/uv; then \
	    VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock && \
	    VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e . ; \
	else \
	    $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock && \
	    $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

demo: setup       ## Watch the whole system do its job on real processes
	@$(BIN)/dagy-control demo

local: setup      ## Keep the embedded cloud and the daemon up until Ctrl-C
	@$(BIN)/dagy-control local

test: setup       ## The tests
	@$(BIN)/python -m pytest

simulate: setup   ## Play SEEDS seeds of the simulation (default 200)
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),200)

simulate-crashes: setup ## Crash at every port call of a scenario, before, after and behind it
	@$(BIN)/python -m tests.simulation.crash_points

simulate-mutants: setup ## Remove each safeguard in turn: the simulation must notice
	@$(BIN)/python -m tests.simulation.mutants --seeds $(or $(SEEDS),80)

check: setup      ## Format, lint, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup     ## Format and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup       ## Resolve pyproject.toml into requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:            ## Remove what the targets made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
