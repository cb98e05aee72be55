# Two commands are all that a new person needs: `make demo` and `make test`.
# Both make .venv on first use from pyproject.toml and the pinned constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint docs benchmark clean

help:
	@echo "make demo       score real cells that come with scanpy and write an HTML report (under 3 minutes)"
	@echo "make test       lint, types and the fast tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make docs       write the generated pages of docs/ again"
	@echo "make benchmark  speed and memory, beside scib-metrics where it is installed"

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scrutiny needs Python 3.11 or newer, found " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/scrutiny demo

test: $(VENV)/.ready lint
	$(THREADS) $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.ready
	$(THREADS) $(BIN)/python -m pytest -m slow

lint: $(VENV)/.ready
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/mypy

docs: $(VENV)/.ready
	$(BIN)/python docs/generate_metrics.py
	$(BIN)/python docs/generate_models.py
	$(BIN)/python docs/generate_claims.py
	$(BIN)/python -W ignore docs/generate_bad_input.py

benchmark: $(VENV)/.ready
	$(BIN)/python benchmarks/metrics_speed.py
	$(BIN)/python benchmarks/large_file.py

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache
