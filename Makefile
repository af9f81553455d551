# Two commands for a fresh machine: `make run` and `make test`. A second call installs nothing.
# PYTHON=/path/to/python picks the interpreter; it must be 3.12 or newer.

WORKFLOW ?= workflows/cloud_thickness.yaml
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
PACKAGES := pipeline models catalogs
DIGEST := $(shell { echo "$(CURDIR)"; cat pyproject.toml $(CONSTRAINTS); } | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16)
RUN_READY := $(VENV)/ready-run-$(DIGEST)
TEST_READY := $(VENV)/ready-test-$(DIGEST)
FARM := $(VENV)/types

.PHONY: run test lint types imports fast slow clean

run: $(RUN_READY)
	$(BIN)/rspipe run $(WORKFLOW)

test: slow

lint: $(TEST_READY)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .

# Type checkers cannot see an editable install's import hook: they are shown a folder of links.
types: lint
	@mkdir -p $(FARM)/rspipe
	@for package in $(PACKAGES); do ln -sfn "$(CURDIR)/$$package" $(FARM)/rspipe/$$package; done
	MYPYPATH=$(FARM) $(BIN)/mypy $(PACKAGES:%=-p rspipe.%)
	MYPYPATH=$(FARM):tests $(BIN)/mypy tests

imports: types
	$(BIN)/lint-imports --no-cache

fast: imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --durations=20 -m "not slow"

slow: fast
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal --durations=20 -m slow

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# $(call install,WHAT): make the environment if it is missing, broken or of another place, and install WHAT into it.
# uv is three to five times faster than pip; where it cannot be had, or cannot reach what pip can, pip does the work.
define install
	@set -eu; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || [ ! -e $(VENV)/in-"$$(pwd | cksum | cut -d' ' -f1)" ]; then \
	  pyenv="$${PYENV_ROOT:-$$HOME/.pyenv}/versions"; found=; \
	  for candidate in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.13 python3 python "$$pyenv"/3.12*/bin/python "$$pyenv"/3.13*/bin/python python3.14 "$$pyenv"/3.1[4-9]*/bin/python); do \
	    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "rspipe needs Python 3.12 or newer (with venv); $(if $(PYTHON),PYTHON=$(PYTHON) is not one,none is on PATH or under $$pyenv). Give one: make run PYTHON=/path/to/python3.12" >&2; exit 1; \
	  fi; \
	  echo "creating $(VENV) with $$("$$found" -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
	  "$$found" -m venv --clear $(VENV); touch $(VENV)/in-"$$(pwd | cksum | cut -d' ' -f1)"; \
	fi; \
	echo "installing $(1)"; \
	{ $(BIN)/python -m pip install --quiet --disable-pip-version-check uv && \
	  UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --no-cache --python $(BIN)/python -e '$(1)' -c $(CONSTRAINTS); } || \
	$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -e '$(1)' -c $(CONSTRAINTS); \
	rm -f $(VENV)/ready-*
endef

$(RUN_READY):
	$(call install,.)
	@touch $@

$(TEST_READY):
	$(call install,.[dev])
	@touch $@ $(RUN_READY)
