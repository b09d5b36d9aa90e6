# Everything runs in .venv; PYTHON makes it (`make test PYTHON=python3.13`, after `make clean`). Frameworks that cannot
# live there have environments of their own, .venv-NAME, each with constraints-NAME.txt and the extra NAME.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TRAIN := .venv/.installed-train
ADAPTERS := .venv/.installed-adapters
APART := gem verifiers verl

.DEFAULT_GOAL := help
.PHONY: help .venv demo test test-all parity lint types bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

.venv: $(STAMP) ## set up: the package, editable, with the pinned development dependencies
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# torch is pinned to a version whose CPU build pip finds; bring a CUDA build into .venv first to use a GPU.
$(TRAIN): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,train,serve]'
	touch $@

$(ADAPTERS): $(TRAIN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[dev,train,serve,openenv,mcp,fuzz,inspect,skyrl]'
	touch $@

.venv-%/.installed: pyproject.toml constraints-%.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-$*.txt -e '.[dev,$*]'
	touch $@

.PRECIOUS: .venv-%/.installed

demo: $(TRAIN) ## the main job: train a policy in the synthetic world, compare it, a quarter of an hour on two cores
	$(BIN)/python -m train.demo

test: $(STAMP) ## the core tier: unit tests, doctests, README
	$(BIN)/python -m pytest

test-all: $(ADAPTERS) $(APART:%=.venv-%/.installed) ## every tier, and the adapters in each environment that they need
	$(BIN)/python -m pytest -m ''
	set -e; for name in $(APART); do .venv-$$name/bin/python -m pytest -m adapters tests/test_adapter_$$name.py; done

parity: $(ADAPTERS) $(APART:%=.venv-%/.installed) ## play the parity suite through every adapter; write the table
	$(BIN)/python -m benchmarks.parity --out
	set -e; for name in $(APART); do .venv-$$name/bin/python -m benchmarks.parity --only $$name --out; done

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict on mtr_env
	$(BIN)/mypy

bench: $(STAMP) ## measure throughput
	$(BIN)/python -m benchmarks.throughput

clean: ## remove .venv, caches and build outputs
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
