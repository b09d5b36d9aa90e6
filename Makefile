# Everything runs in .venv; PYTHON makes it (`make test PYTHON=python3.13`, after `make clean`). Frameworks that cannot
# live there have environments of their own, .venv-NAME, each with constraints-NAME.txt and the extra NAME.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TRAIN := .venv/.installed-train
ADAPTERS := .venv/.installed-adapters
DOCS := .venv/.installed-docs
RELEASE := .venv/.installed-release
APART := gem verifiers verl

.DEFAULT_GOAL := help
.PHONY: help .venv demo report test test-all pages parity lint types docs bench release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

.venv: $(STAMP) ## set up: the package, editable, with the pinned development dependencies
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# What the demonstration needs and nothing else; the stamp holds the seconds that it took, which the demonstration counts.
# torch is pinned to a version whose CPU build pip finds; bring a CUDA build into .venv first to use a GPU.
$(TRAIN): pyproject.toml constraints.txt
	set -e; began=$$(date +%s); \
	test -x $(BIN)/python || $(PYTHON) -m venv .venv; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'; \
	echo $$(($$(date +%s) - began)) >$@

$(ADAPTERS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[dev,train,serve,openenv,mcp,fuzz,inspect,skyrl]'
	touch $@

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	touch $@

$(RELEASE): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,release]'
	touch $@

.venv-%/.installed: pyproject.toml constraints-%.txt
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-$*.txt -e '.[dev,$*]'
	touch $@

# verifiers cannot live with the openai of `dev`, and finds a taskset as a package of its own.
.venv-verifiers/.installed: pyproject.toml constraints-verifiers.txt
	test -x .venv-verifiers/bin/python || $(PYTHON) -m venv .venv-verifiers
	.venv-verifiers/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-verifiers.txt \
		-e '.[test,verifiers]' -e environments/mtr_taskset
	touch $@

.PRECIOUS: .venv-%/.installed

demo: $(TRAIN) ## the main job: train a policy in the synthetic world, compare it, 12 minutes on two cores
	$(BIN)/python -m train.demo

# A run that is there is gone on with: its episodes would be those of older code.
report: $(STAMP) ## look at the world: four policies without a model play it; prints the file to open
	rm -rf runs/look
	$(BIN)/mtr-env run MTR-Synthetic-v0 --limit 200 --policy oracle,first-search,chaser,no-tool --out runs/look
	$(BIN)/mtr-env report runs/look/MTR-Synthetic-v0/* --out runs/look/report.html

test: $(STAMP) ## the core tier: unit tests, doctests, README
	$(BIN)/python -m pytest

test-all: $(ADAPTERS) $(APART:%=.venv-%/.installed) ## every tier, and the adapters in each environment that they need
	$(BIN)/python -m pytest -rs -m ''
	set -e; for name in $(APART); do \
		.venv-$$name/bin/python -m pytest --no-skips -rs -m adapters tests/test_adapter_$$name.py; done

# The part of the adapters tier that CI runs. Where a file is skipped, its framework was not installed: an error.
PAGES := endpoint inspect mcp openenv skyrl trl_page
pages: $(ADAPTERS) $(APART:%=.venv-%/.installed) ## the examples of the adapters' pages
	set -e; for name in $(APART); do \
		.venv-$$name/bin/python -m pytest --no-skips -rs -m page tests/test_adapter_$$name.py; done
	$(BIN)/python -m pytest --no-skips -rs -m page $(PAGES:%=tests/test_adapter_%.py) tests/test_pages.py

parity: $(ADAPTERS) $(APART:%=.venv-%/.installed) ## play the parity suite through every adapter; write the table
	$(BIN)/python -m benchmarks.parity --out
	set -e; for name in $(APART); do .venv-$$name/bin/python -m benchmarks.parity --only $$name --out; done

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict on mtr_env
	$(BIN)/mypy

# Not --quiet: that silences warnings before --strict has counted them.
docs: $(DOCS) ## the documentation site, into site/; any warning fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP) ## measure throughput
	$(BIN)/python -m benchmarks.throughput

# --no-isolation: with the pinned setuptools. The wheel is built from the sdist.
release: $(RELEASE) ## sdist and wheel into dist/: metadata, contents, an episode from a fresh install
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python .ci/check_wheel.py dist/*.whl
	$(BIN)/python .ci/check_release.py dist

clean: ## remove .venv, caches and build outputs
	rm -rf .venv .venv-* build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
