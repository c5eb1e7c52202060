# Every task of development; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
DEMO_DIR ?= aae-demo
RAW_DIR ?= data
BIN := $(VENV)/bin
SAVED := --benchmark-storage=file://benchmarks/results/saved

# ONNX Runtime comes from one of two packages that exclude each other; the GPU one also runs without a GPU.
# requirements.lock is for Linux x86-64, with checksums; other systems use its versions where these exist.
ifeq ($(shell uname -s)-$(shell uname -m),Linux-x86_64)
REQUIREMENTS = --require-hashes --no-deps -r requirements.lock
else
REQUIREMENTS = -c $(VENV)/versions.txt ".[train,cpu,timm,ray,dev,docs]"
endif

.DEFAULT_GOAL := help
UPGRADE ?=

.PHONY: help setup lock demo test test-slow test-faults test-mutants lint format typecheck docs bench bench-compare results parity build clean

help: ## list all targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 15

setup: $(VENV)/.ready ## create the virtual environment, at the tested versions

$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	sed -nE 's/^([A-Za-z0-9_.-]+==[^ ;]+).*/\1/p' requirements.lock > $(VENV)/versions.txt
	$(BIN)/pip install --quiet --disable-pip-version-check $(REQUIREMENTS)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lock: setup ## write requirements.lock (versions, checksums) and docs/licences.md; UPGRADE=--upgrade for newer versions
	$(BIN)/uv pip compile pyproject.toml --extra train --extra gpu --extra ray --extra timm --extra dev --extra docs --generate-hashes --quiet $(UPGRADE) \
	  --python-version 3.11.5 --python-platform x86_64-manylinux_2_28 --no-annotate --custom-compile-command "make lock" \
	  --output-file requirements.lock
	$(MAKE) setup
	$(BIN)/python tools/licences.py

demo: setup ## train with and without labels on digits, export, prove parity, benchmark, report; FULL=1 takes longer
	$(BIN)/aae demo --output $(DEMO_DIR) $(if $(FULL),--full)

test: setup ## run the tests, without the slow ones
	$(BIN)/pytest -m "not slow" -n auto --dist worksteal

test-slow: setup ## run the slow tests: Ray, Node, Chromium, torchrun, compilers, kills, the site
	$(BIN)/pytest -m slow -n auto --dist worksteal

test-mutants: setup ## test readers with 300 damaged files of each format, and 300 random configurations and command lines
	AAE_MUTANTS=3 AAE_MUTANTS_REPORT=mutants.json $(BIN)/pytest tests/test_mutants.py tests/test_fuzz.py

KILLS ?= 40
test-faults: setup ## kill each command KILLS times at random moments, and fill disks; print the progress at the kills
	rm -f kills.txt
	KILLS=$(KILLS) KILL_REPORT=kills.txt $(BIN)/pytest tests/faults
	sort kills.txt | uniq -c

lint: setup ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: setup ## apply format and style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

typecheck: setup ## check types with mypy, strict
	$(BIN)/mypy

docs: setup ## write the reference pages, then build the documentation site into site/
	$(BIN)/python tools/reference.py
	$(BIN)/python -m zensical build --strict --clean

bench: setup ## benchmark backends and the training step, into benchmarks/results/
	mkdir -p benchmarks/results
	$(BIN)/pytest benchmarks $(SAVED) --benchmark-autosave --benchmark-json benchmarks/results/backends.json
	$(BIN)/python benchmarks/training_step.py --output benchmarks/results/training_step.json

# Compares with the last `make bench` and saves nothing: otherwise ten runs could each be 9% slower than the one before.
bench-compare: setup ## fail if a backend is more than 10% slower than in this machine's last `make bench`
	@ls benchmarks/results/saved/*/*.json > /dev/null 2>&1 \
	  || { echo "no saved run to compare with: make bench saves one" >&2; exit 1; }
	$(BIN)/pytest benchmarks $(SAVED) --benchmark-compare --benchmark-compare-fail=median:10%

results: setup ## measure test accuracies over seeds, into docs/results.md; takes hours, continues after a stop
	$(BIN)/python benchmarks/accuracy.py --raw-dir $(RAW_DIR)

parity: setup ## prove parity of the demo's exports again
	for variant in semi_supervised unsupervised; do \
	  $(BIN)/aae parity --export $(DEMO_DIR)/$$variant/export --data $(DEMO_DIR)/data || exit $$?; \
	done

build: setup ## build wheel and source distribution, into dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

clean: ## remove all generated files
	rm -rf $(VENV) $(DEMO_DIR) dist build site .cache benchmarks/results mutants.json .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
