# Needs python3.11, pip, make and git; everything else is set up here. `make demo`, `make test`, `make ui`.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11)
$(if $(PYTHON),,$(error Python 3.11 is needed: no python3.11 on PATH (or give it: make PYTHON=...)))
UV := .uv/bin/uv
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(VIRTUAL_ENV)/bin:$(PATH)
export DAGSTER_HOME ?= $(CURDIR)/home/dagster
export DO_NOT_TRACK := 1
# Where it is set, every process would compile the package and pytest's plugins again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test ui lint docs replicate coverage calibrate lock clean

demo: .venv/runtime $(DAGSTER_HOME)/dagster.yaml  ## raw events to decisions, once, with a closing table
	python -m causal_assets.demo

ui: .venv/runtime $(DAGSTER_HOME)/dagster.yaml  ## Dagster with webserver and daemon on http://localhost:3000
	dg dev

test: .venv/dev  ## the whole suite, in parallel; one thread a worker, or they fight for the cores
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev
	ruff check . && ruff format --check . && ty check causal_assets benchmarks
	sqlfluff lint dbt_project/models --config dbt_project/.sqlfluff
	cd dbt_project && CAUSAL_WAREHOUSE=$(CURDIR)/home/warehouse.duckdb dbt parse --quiet --project-dir $(CURDIR)/dbt_project --profiles-dir $(CURDIR)/dbt_project
	dg check defs

docs: .venv/dev  ## write the generated tables again
	python -m docs.generate

replicate: .venv/dev  ## published answers through the study path; PUBLISHED=<folder> for those that no package has
	python -m benchmarks.replication

coverage: .venv/dev  ## do intervals cover at their stated rate?
	OMP_NUM_THREADS=1 python -m benchmarks.coverage

calibrate: .venv/dev  ## do checks stay silent in healthy studies, and speak in broken ones?
	OMP_NUM_THREADS=1 python -m benchmarks.calibration

lock: | $(UV)  ## resolve the pinned versions again; no download address is recorded
	$(UV) pip compile --quiet --upgrade $(COMPILE) pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --upgrade $(COMPILE) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

COMPILE := --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

clean:  ## forget the instance's state: warehouse, ledger, memos, runs
	rm -rf home

$(DAGSTER_HOME)/dagster.yaml: instance.yaml
	mkdir -p $(DAGSTER_HOME) && cp instance.yaml $@

$(UV):
	$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv

# Bytecode is compiled at installation: the first run then starts as fast as the second.
.venv/runtime: requirements.lock | $(UV)
	test -d .venv || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/dev: requirements-dev.lock requirements.lock | $(UV)
	test -d .venv || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip sync --quiet --compile-bytecode requirements-dev.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch .venv/runtime $@
