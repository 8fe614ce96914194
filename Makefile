# Each target installs what it needs first. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := true

.PHONY: help env repro demo test slow faults lint bench ui lock audit

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: .venv/installed ## install everything that is pinned, into .venv

.venv/installed: requirements.lock pyproject.toml
	@echo "installing what is pinned into .venv: some 6.5 GB, which takes minutes"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

repro: env ## the whole pipeline: data, supernets, standalones, comparison, MLflow; then the tables
	oneshot check
	dvc repro
	oneshot sync
	oneshot show

demo: env ## the same with small params, in the scratch folder demo/; committed results stay untouched
	rm -rf demo
	oneshot demo demo
	cd demo && oneshot check && dvc repro && oneshot sync && oneshot show
	@echo "It works: every stage ran. The numbers mean nothing, with few images and epochs. The page: demo/report/index.html"

test: env ## the tests but the slow ones; those of the page where chromium and chromium-driver are
	pytest

slow: env ## the tests that take minutes: interruptions, servers that hang, whole second runs
	pytest -m 'slow and not faults'

faults: export FAULT_KILLS ?= 150
faults: export FAULT_SIGNALS ?= 40
faults: export FAULT_CHECKPOINTS ?= 500
faults: export FAULT_DAMAGED_TRAININGS ?= 10
faults: export FAULT_DATASETS ?= 200
faults: export FAULT_STARTERS ?= 8
faults: export FAULT_TRACKERS ?= 14
faults: env ## kills, interruptions, damaged files, trackers that fail; as many as FAULT_KILLS and so on say, FAULT_SEED for the same again
	pytest -m faults

lint: env ## format, lint and types
	ruff format --check
	ruff check
	mypy

bench: env ## speed against what people do today: all of it into docs/benchmarks.md; QUICK=1 the main parts in 3 minutes, or PARTS="step epoch", into no file
	dvc repro --quiet download@mnist
	python -m benchmarks.bench $(if $(QUICK),--quick) $(PARTS)

ui: env ## MLflow at http://127.0.0.1:5000; one worker, and no job runner
	-oneshot sync
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --workers 1 --backend-store-uri sqlite:///mlflow.db

lock: ## pin the newest versions that pyproject.toml admits (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --upgrade --output-file requirements.lock

# What is ignored is answered in docs/audit.md.
audit: ## ask PyPI for known vulnerabilities of what is pinned (needs pip-audit)
	pip-audit --strict --requirement requirements.lock --disable-pip --no-deps \
		--ignore-vuln CVE-2025-69872 --ignore-vuln GHSA-w8v5-vhqr-4h9v \
		--ignore-vuln CVE-2025-3000 --ignore-vuln PYSEC-2025-194
