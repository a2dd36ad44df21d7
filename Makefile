# Everything happens in .venv, which is made and filled on first use.
# Wanted: Python 3.11 or newer with venv, make, and a package index that pip can reach. Root or not, again and again.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

FIRST_TIME := one to two minutes with torch for CPUs, more with CUDA: see README.md

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test bench lint format install clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo     install, train six small models, ingest them, show what can be asked (six minutes at most)'
	@echo 'make test     install, then lint and run all tests, on $(WORKERS) processes (WORKERS=...)'
	@echo 'make bench    measure what is claimed of speed and memory, write docs/benchmarks.md (an hour at most)'
	@echo 'make lint     ruff, mypy and sqlfluff alone'
	@echo 'make format   let ruff and sqlfluff rewrite the code'
	@echo 'make install  install for development, and nothing else'
	@echo 'make clean    remove $(VENV) and caches; data under WAREHOUSE_HOME stay'

demo: $(VENV)/installed-demo
	$(BIN)/warehouse demo

test: lint
	@echo '==> pytest: every test, $(WORKERS) at a time, on an embedded server (or the one DATABASE_URL names)'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks $(BENCH)

lint: $(VENV)/installed-dev
	@echo '==> ruff: style and common faults'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo '==> mypy: types, strictly'
	$(BIN)/mypy
	@echo '==> sqlfluff: style of SQL'
	$(BIN)/sqlfluff lint queries

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix queries

install: $(VENV)/installed-dev

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# A stamp per set of packages, newer than the files that say which packages these are.
$(VENV)/installed-demo: pyproject.toml constraints.txt | $(BIN)/pip
	@echo '==> pip: what the demo needs, at the versions of constraints.txt (the first time $(FIRST_TIME))'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[plots,fits]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo '==> pip: what the tests need, at the versions of constraints.txt (the first time $(FIRST_TIME))'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[plots,fits,dev]'
	@touch $@ $(VENV)/installed-demo

$(VENV)/installed-bench: pyproject.toml constraints.txt | $(BIN)/pip
	@echo '==> pip: what the benchmarks compare with, at the versions of constraints.txt'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

# pip is the last thing venv puts there: a venv without it is an unfinished one.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo '==> venv: $(VENV), of $(PYTHON)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'venv failed: on Debian and Ubuntu, install python3-venv.'; exit 1; }
