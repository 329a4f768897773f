# Every target sets up what it needs in .venv, on a fresh clone too; it needs only make and Python >= 3.11 with venv.
# .venv belongs to this file: it is rebuilt when it is half made or was made for another folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# PYTHON=/path/to/python3.12 chooses another interpreter; otherwise the first of these that is new enough.
PYTHON ?=
PYTHONS := python3.11 python3.12 python3.13 python3

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

# A stamp is written after the last step it stands for, so an interrupted set-up is done again. It carries a checksum
# of the folder: a .venv that was copied along with the project has scripts pointing at the old place.
HERE := $(shell printf '%s' '$(CURDIR)' | cksum | cut -d' ' -f1)
VENV_MADE := $(VENV)/.made-$(HERE)
DEMO_MADE := $(VENV)/.installed-demo-$(HERE)
ALL_MADE := $(VENV)/.installed-all-$(HERE)

# What pip compiles while it installs the project, where there is a C compiler.
COMPILED := runtime/edsr_runtime/amx/convolutions.c

# TensorRT-RTX exists for x86-64 only. cuda-bindings is what the tests of the device layer run on.
ifeq ($(shell uname -sm),Linux x86_64)
RTX := ,rtx,cuda
endif

# pyright asks PyPI for a newer version of itself unless told not to.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test lint models soak fuzz clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(DEMO_MADE) ## upscale the bundled photograph into demo-out/ (no PyTorch, no GPU)
	$(PY) -m edsr_runtime.demo

test: $(ALL_MADE) ## all tests that need no GPU and are quick; those that need EDSR_DATA say so where it is unset
	$(PY) -m pytest -m "not slow and not gpu" $(PYTEST_ARGS)

lint: $(ALL_MADE) ## ruff, mypy, pyright and the import contracts
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pyright
	$(VENV)/bin/lint-imports --no-logo

models: $(ALL_MADE) ## export the shipped models anew, after a change of their checkpoints
	$(PY) -m edsr_export.ship

# ONLY=kills,soak chooses parts; LEFT=1 leaves out those that have survived on this commit.
soak: $(ALL_MADE) ## everything that tries to break a job, for hours; writes docs/robustness.json and its table
	$(PY) -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("ray") is None)' \
	  || $(PIP) install --quiet -c constraints.txt -e '.[ray]'
	$(PY) tests/robustness/run.py $(if $(ONLY),--only $(ONLY)) $(if $(LEFT),--left) $(PYTEST_ARGS)

FUZZ_SECONDS ?= 3600
fuzz: $(ALL_MADE) ## search our own parsers with coverage-guided mutations, for FUZZ_SECONDS in all; a part of soak's JSON
	$(PIP) install --quiet -c constraints.txt atheris
	$(PY) tests/robustness/run.py --only fuzz --seconds $(FUZZ_SECONDS)

clean: ## remove what the targets wrote, except .venv
	rm -rf demo-out build dist fuzz-findings .fuzz-corpus *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find benchmarks export runtime tests train -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

$(VENV_MADE):
	@for python in $(or $(PYTHON),$(PYTHONS)); do \
	  command -v "$$python" >/dev/null && "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || continue; \
	  found=$$python; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  echo "$$python -m venv --clear $(VENV)"; \
	  "$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
	  exit 1; \
	done; \
	if [ -n "$${found:-}" ]; then \
	  echo "$$found has no venv or ensurepip. Install them (Debian, Ubuntu: apt-get install python3-venv), then try again." >&2; \
	else \
	  echo "No Python 3.11 or newer among: $(or $(PYTHON),$(PYTHONS))." \
	    "Install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.11" >&2; \
	fi; \
	exit 1

$(DEMO_MADE): pyproject.toml constraints.txt $(COMPILED) | $(VENV_MADE)
	$(PIP) install --quiet -c constraints.txt -e '.[cpu]'
	touch $@

# PyTorch on its own first: pip settles on the pinned build before it looks at what else wants torch.
$(ALL_MADE): pyproject.toml constraints.txt $(COMPILED) | $(VENV_MADE)
	$(PIP) install --quiet -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt -e '.[cpu,train,export,bench,peers,dev$(RTX)]'
	touch $(DEMO_MADE) $@
