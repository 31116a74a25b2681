# The main commands are `make demo` and `make test`; both set everything up themselves.

# Runs the set-up only; scripts/setup_env.py chooses the Python of the environment.
SYSTEM_PYTHON ?= python3
export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast flink lint lock clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## create .venv if it is missing or out of date
	@$(SYSTEM_PYTHON) scripts/setup_env.py

demo: setup ## from images to a pushed model in minutes, offline; writes demo/output/report.html
	@$(BIN)/thaw sample-images demo/images --per-class 30
	@weights=$$($(BIN)/python -m pipeline.cli.demo_weights) && $(BIN)/thaw run --images demo/images \
	  --config configs/demo.yaml --set backbone.weights=$$weights --output demo/output
	@$(BIN)/thaw predict demo/images/3/0003.png --model demo/output
	@$(BIN)/thaw report demo/output

# The tests of one file, or of a folder that shares a whole run, stay in one process.
PROCESSES := -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test: setup lint ## check format, lint and types, then run every test
	$(BIN)/pytest $(PROCESSES)

test-fast: setup ## run the tests that take seconds
	$(BIN)/pytest -m "not slow"

flink: setup ## download Apache Flink, run the data steps on it, compare their outputs
	@$(BIN)/python scripts/flink_job_server.py
	$(BIN)/pytest tests/e2e/test_engines.py -k flink

lint: setup ## check format, lint, types, imports, dependencies and the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(BIN)/hadolint kubeflow/Dockerfile

lock: setup ## resolve requirements.txt and the GPU image's requirements again from pyproject.toml
	$$(ls -t .setup/uv*/bin/uv | head -1) pip compile --quiet --universal --python-version 3.10 \
	  --generate-hashes --group dev --upgrade pyproject.toml --output-file requirements.txt
	$$(ls -t .setup/uv*/bin/uv | head -1) pip compile --quiet --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_39 --generate-hashes --constraint requirements.txt \
	  kubeflow/requirements-gpu.in --output-file kubeflow/requirements-gpu.txt

clean: ## delete the demo's output and the environment
	rm -rf demo .venv .setup
