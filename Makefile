# Every target makes its own set-up: on a bare machine with Python 3.11 or newer, `make report` is all that is needed.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup report emulator test check smoke lab bench data clean
PY := .venv/bin/python
CLI := .venv/bin/tennis-research

help: ## what can be made here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.venv/ready: requirements.lock pyproject.toml .ci/setup
	@.ci/setup

setup: .venv/ready ## .venv with the pinned packages and the command tennis-research

report: .venv/ready ## the main jobs: fair prices on real matches (simulated ones where there is no data), six small emulators, and their pages
	@$(CLI) run s10_fair_value
	@$(CLI) run s20_emulator
	@$(CLI) report

emulator: .venv/ready ## the six emulators at full size: over an hour on four cores, 20 GB of memory
	@$(CLI) run s20_emulator -p full=true -p workers=3
	@$(CLI) report

test: .venv/ready ## everything that must pass; what has not changed since it passed is not run again
	@$(PY) .ci/test.py

check: .venv/ready ## the quick part of test: layout, export, ruff
	@$(PY) .ci/test.py --only layout export ruff

smoke: .venv/ready ## every study at its smallest size, and a look at the pages in a browser
	@$(PY) .ci/test.py --only study pages

lab: .venv/ready ## JupyterLab on the notebooks
	@.venv/bin/jupyter lab --notebook-dir=nbs

bench: .venv/ready ## speed, as ratios to peers measured in the same run
	@$(CLI) run s90_benchmarks
	@$(CLI) report

data: .venv/ready ## where each public source is; fetches the free ones, resumes, verifies
	@$(CLI) data --fetch

clean: ## remove what can be made again (.venv, caches); reports and data stay
	rm -rf .venv .cache .ruff_cache .hypothesis nbs/.hypothesis build *.egg-info
	find nbs tennis_research -name __pycache__ -type d -prune -exec rm -rf {} +
