# Everything a person or CI runs. `make` alone lists it. Nothing needs to be installed beforehand but Python 3.11 or newer.
.DEFAULT_GOAL := help
.PHONY: help demo up down compose-up compose-down test check lint bench image clean

BIN := .venv/bin
RUN := .venv/.installed
DEV := .venv/.installed-dev
#: The image that tests and demo run tasks in: the agent's default, unless given.
export MESOLITE_IMAGE ?= python:3.11-slim
#: Where the cluster of `make demo` and `make up` keeps everything.
export MESOLITE_HOME ?= $(CURDIR)/.mesolite
CLUSTER := --agents 2 --agent-resources "cpus:1;mem:512" --image $(MESOLITE_IMAGE)
#: For one test or an option: make test ARGS="tests/unit -k drf"
ARGS ?=

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUN) ## run a whole cluster on this machine for a minute and show what it does
	@scripts/base-image --if-possible
	@$(BIN)/mesolite demo $(CLUSTER) $(ARGS)

up: $(RUN) ## start a cluster on this machine and leave it running
	@scripts/base-image --if-possible
	@$(BIN)/mesolite up $(CLUSTER) $(ARGS)

down: ## stop what `make up` started
	@[ ! -x $(BIN)/mesolite ] || $(BIN)/mesolite down $(ARGS)

compose-up: ## start a highly available cluster under Docker compose (compose/README.md)
	@scripts/compose up $(ARGS)

compose-down: ## stop what `make compose-up` started; with ARGS=-v its data, too
	@scripts/compose down $(ARGS)

test: $(DEV) ## run the tests
	@scripts/base-image --if-possible
	@scripts/test $(ARGS)

check: lint test ## all that CI checks: format, lint, types, tests

lint: $(DEV) ## format, lint and types alone
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(DEV) ## run the benchmarks and write docs/benchmarks.md
	@scripts/base-image --if-possible
	@$(BIN)/python -m bench $(ARGS)

image: ## get or build the image that tasks run in by default
	@scripts/base-image

clean: ## remove what these commands made here
	rm -rf .venv .venv-peers build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .mesolite
	find . -name __pycache__ -type d -not -path './.venv*/*' -exec rm -rf {} +

$(RUN): pyproject.toml scripts/venv scripts/make_venv.py
	@scripts/venv
	@touch $@

$(DEV): pyproject.toml scripts/venv scripts/make_venv.py
	@scripts/venv dev
	@touch $@ $(RUN)
