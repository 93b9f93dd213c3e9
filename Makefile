# Culvert. `make` alone lists the targets. Everything runs as root: BPF and namespaces need it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
# Passed on: make test PYTEST="-k sends -x", make demo ARGS="--help"
PYTEST ?=
ARGS ?=
# Tests wait more than they compute: two at a time, those of one file one after the other.
WORKERS ?= 2

.PHONY: help setup kubernetes demo test test-long bench lint lint-python lint-c clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing; the other targets do it by themselves
	@scripts/setup

kubernetes: setup ## Build the Kubernetes control plane of the tests, once (four minutes)
	@scripts/kubernetes/build

demo: setup ## A mesh of two nodes on this machine, with real traffic
	@$(BIN)/culvert demo $(ARGS)

# First away with what a run that was killed left: it would be counted against this one.
test: lint kubernetes ## Lint, then every test but the long ones
	@$(BIN)/python scripts/leftovers.py --remove
	@status=0; $(BIN)/pytest -m "not long" -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  $(PYTEST) || status=$$?; \
	$(BIN)/python scripts/leftovers.py || status=1; exit $$status

test-long: setup ## The tests that take minutes of traffic
	@status=0; $(BIN)/pytest -m long $(PYTEST) || status=$$?; \
	$(BIN)/python scripts/leftovers.py || status=1; exit $$status

bench: setup ## Measure with and without the mesh; see docs/benchmarks.md
	@$(BIN)/python -m tests.bench $(ARGS)

lint: lint-python lint-c ## Style, types, layers, and the C with warnings as errors

lint-python: setup
	@$(BIN)/ruff check --quiet && echo "  ✓ ruff"
	@$(BIN)/ruff format --check --quiet && echo "  ✓ formatting"
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary scripts && echo "  ✓ types"
	@scripts/quietly $(BIN)/lint-imports && echo "  ✓ layers"

lint-c: setup
	@clang -std=gnu11 -Wall -Wextra -Werror -fsyntax-only -x c bpf/include/abi.h
	@clang -std=gnu11 -Wall -Wextra -Werror -Wno-unused-function -fsyntax-only -x c bpf/include/decide.h
	@scripts/quietly $(BIN)/python -m culvert.redirect.loader --compile-only --root /sys/fs/bpf
	@echo "  ✓ C: no warnings, and the verifier takes every program"

clean: ## Remove caches, and what runs that were killed left on the machine
	@if [ -x $(BIN)/python ]; then \
	  $(BIN)/python scripts/leftovers.py --remove; fi
	@rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
