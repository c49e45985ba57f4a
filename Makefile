# The commands of this repository. CI and people use the same ones. All but `help` and `clean` first
# make the virtual environment `.venv` when it is missing or older than its pins.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?=
INPUT ?=
ARGS ?=
# One per core: the times that tests allow would not do for a machine much busier than that.
WORKERS := --numprocesses logical --maxprocesses 4
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help demo test kafka lint types bench gate soak up clean constraints

help: ## Show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -nE 's/^([a-z]+):.*## (.*)/  make \1: \2/p' $(MAKEFILE_LIST)

demo: $(STAMP) ## Record a real stream end to end; INPUT=<path or URL of an .m3u8> records that one
	@$(BIN)/python -m serve_app.demo $(if $(INPUT),"$$INPUT")

test: $(STAMP) ## Run all tests, with the programs that they need besides; ARGS= goes to pytest
	@chromium="$$(.ci/chromium)"; kafka="$$(.ci/kafka)"; nginx="$$(.ci/nginx)"; \
	 prometheus="$$(.ci/prometheus)"; \
	 CHROMIUM="$$chromium" APACHE_KAFKA="$$kafka" NGINX="$$nginx" PROMETHEUS="$$prometheus" \
	 $(BIN)/python -m pytest $(WORKERS) $(ARGS)

kafka: $(STAMP) ## The Kafka tests alone, on Apache Kafka and the embedded broker; KAFKA_BROKERS= names brokers to use instead
	@kafka="$$(.ci/kafka)"; APACHE_KAFKA="$$kafka" $(BIN)/python -m pytest tests/stores/test_kafka_*.py $(ARGS)

lint: $(STAMP) ## Style, formatting and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo

types: $(STAMP) ## Static types, strict
	@$(BIN)/mypy

bench: $(STAMP) ## Measure against the peers; ARGS= names one bench and its options
	@$(BIN)/python -m bench $(ARGS)

gate: $(STAMP) ## Fail if a short bench is slower against its peers than bench/baseline says
	@$(BIN)/python -m bench remux --length 2m --rounds 2 --json bench/out/gate.json --plot bench/out/gate.svg
	@$(BIN)/python -m bench compare --tolerance 0.3 bench/baseline/remux.json bench/out/gate.json

soak: $(STAMP) ## The tests that run for long
	@$(BIN)/python -m pytest -m soak $(ARGS)

up: $(STAMP) ## Serve, with embedded services for what the environment does not name; ARGS= as for vodray up
	@$(BIN)/vodray up $(ARGS)

clean: ## Remove .venv, caches and build results; recordings in .vodray stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
	  .hypothesis bench/out
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

constraints: $(STAMP) ## Pin the newest versions that pyproject.toml allows, for every platform and for the image
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --all-extras \
	  pyproject.toml --output-file constraints.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --fork-strategy fewest \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --extra image \
	  --constraint constraints.txt pyproject.toml --output-file deploy/requirements.txt

$(STAMP): constraints.txt pyproject.toml
	@python="$$(.ci/python $(PYTHON))"; \
	 [ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	   echo "Making .venv with $$($$python --version)"; $$python -m venv --clear .venv; }
	@echo "Installing the pinned packages (a minute or two)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@
