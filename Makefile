# The whole set-up needs only python3.11, pip and make. `make demo`, `make test`, `make ui`.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV := .uv/bin/uv
BIN := .venv/bin
export DAGSTER_HOME := $(CURDIR)/home/dagster
export DO_NOT_TRACK := 1

.PHONY: demo test ui lint lock check

demo: .venv/runtime
	$(BIN)/python -m causal_assets.demo

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

ui: .venv/runtime home/dagster/dagster.yaml
	$(BIN)/dg dev

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/ty check causal_assets
	$(BIN)/sqlfluff lint dbt_project/models --config dbt_project/.sqlfluff

$(UV):
	$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv

.venv/runtime: requirements.lock | $(UV)
	test -d .venv || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python requirements-dev.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e .
	touch $@

lock: | $(UV)
	$(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock
