# The main commands are `make demo` and `make test`; both set everything up themselves.

# Runs the set-up only; scripts/setup_env.py chooses the Python of the environment.
SYSTEM_PYTHON ?= python3
export PYTHON
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast flink cluster-test sbom lint lock clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## create .venv if it is missing or out of date
	@$(SYSTEM_PYTHON) scripts/setup_env.py

demo: setup ## from images to a pushed model in minutes, offline; writes demo/output/report.html
	@$(BIN)/thaw sample-images demo/images --per-class 30
	@weights=$$($(BIN)/python -m pipeline.cli.demo_weights) && $(BIN)/thaw run --images demo/images \
	  --config configs/demo.yaml --set backbone.weights=$$weights --output demo/output
	@test ! -d demo/output/serving || $(BIN)/thaw predict demo/images/3/0003.png --model demo/output
	@$(BIN)/thaw report demo/output
	@test ! -d demo/output/serving || \
	  echo "Serve what it made, with a page to try it on: $(BIN)/thaw serve --model demo/output"

# The tests of one file, or of a folder that shares a whole run, stay in one process.
PROCESSES := -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test: setup lint ## check format, lint and types, then run every test
	$(BIN)/pytest $(PROCESSES)

test-fast: setup ## run the tests that take seconds
	$(BIN)/pytest -m "not slow"

flink: setup ## download Apache Flink, run the data steps on it, compare their outputs
	@$(BIN)/python scripts/flink_job_server.py
	$(BIN)/pytest tests/e2e/test_engines.py -k flink

cluster-test: setup ## build a Kubernetes API server, check manifests and policies against it
	@$(BIN)/python scripts/cluster_tools.py api-server
	$(BIN)/pytest tests/launchers/test_real_api.py

# The timestamp is left out: the same lock gives the same list.
SBOM := $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible

sbom: setup ## list what the two images hold beside Debian and Python, in CycloneDX: dist/*.cdx.json
	@mkdir -p dist
	@$(SBOM) --output-file dist/thaw-cpu.cdx.json kubeflow/requirements-image.txt
	@cat kubeflow/requirements-image.txt kubeflow/requirements-gpu.txt | \
	  $(SBOM) --output-file dist/thaw-gpu.cdx.json -
	@ls dist/*.cdx.json

lint: setup ## check format, lint, types, imports, dependencies and the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(BIN)/hadolint kubeflow/Dockerfile

UV = $$(ls -t .setup/uv*/bin/uv | head -1)
IN_IMAGE := --python-version 3.11 --python-platform x86_64-manylinux_2_39 --constraint requirements.txt

lock: setup ## resolve requirements.txt and the images' requirements again from pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	  --group dev --upgrade pyproject.toml --output-file requirements.txt
	$(UV) pip compile --quiet --generate-hashes $(IN_IMAGE) \
	  pyproject.toml --output-file kubeflow/requirements-image.txt
	$(UV) pip compile --quiet --generate-hashes $(IN_IMAGE) \
	  kubeflow/requirements-build.in --output-file kubeflow/requirements-build.txt
	$(UV) pip compile --quiet --generate-hashes $(IN_IMAGE) \
	  kubeflow/requirements-gpu.in --output-file kubeflow/requirements-gpu.txt

clean: ## delete the demo's output and the environment
	rm -rf demo .venv .setup
