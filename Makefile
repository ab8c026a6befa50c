# naq: the commands a newcomer needs. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ASYNC  := $(VENV)/.async
CODE   := naq tests examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help up test check soak bench bench-full bench-supervisors format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A virtual environment with naq (editable) and everything tests and checks need.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

up: $(STAMP) ## Set up and run supervisor.toml: nats, two workers, the dashboard
	@exec $(BIN)/naq up supervisor.toml

# Most tests wait for something; so one file more at a time than there are processors.
test: $(STAMP) ## Run all tests
	@$(BIN)/python -m pytest -n $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)') --dist loadfile

check: $(STAMP) ## Lint, layers and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory $(ASYNC)
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy

# flake8-async takes a third of a second for a file: it reads those that have to do with it, and of
# those the ones that have changed since it was content.
$(ASYNC): $(STAMP) .flake8 $(shell grep -rlE 'async|trio' --include='*.py' $(CODE))
	@$(BIN)/flake8 $(if $(filter-out %.py,$?),$(filter %.py,$^),$?)
	@touch $@

soak: $(STAMP) ## 20,000 jobs of all kinds while a worker is killed every second: some minutes
	@NAQ_SOAK_JOBS=20000 $(BIN)/python -m pytest -s tests/process/faults/test_soak.py

bench: $(STAMP) ## naq and its peers (from PyPI, with Debian's redis-server) in some minutes
	@$(BIN)/python -m benchmarks

bench-full: $(STAMP) ## The same with all workloads and all jobs: hours
	@$(BIN)/python -m benchmarks --full

bench-supervisors: $(STAMP) ## The same of naq up beside circus, supervisord and honcho (from PyPI)
	@$(BIN)/python -m benchmarks.supervisors

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

clean: ## Remove the virtual environment and run-time files
	rm -rf $(VENV) .naq
