# `make demo` and `make test` need only Python 3.11 to 3.13, make and a C library: they install into
# .venv first, with the exact versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow coverage check lock clean

demo: $(INSTALLED)  ## the main job on the embedded data
	$(BIN)/kaggle-digits run --workspace demo-workspace

test: $(INSTALLED)  ## the test suite
	$(BIN)/python -m pytest -q

test-slow: $(INSTALLED)  ## the long tests, those on the competition's files too
	$(BIN)/python -m pytest -q -m slow

coverage: $(INSTALLED)  ## the test suite, and the lines and branches that it does not run
	$(BIN)/python -m pytest -q --cov --cov-report=term

check: $(INSTALLED)  ## lint, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_architecture.py

lock:  ## resolve constraints.txt anew for all supported Pythons
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --quiet --upgrade --output-file constraints.txt

clean:  ## everything make has made
	rm -rf $(VENV) build demo-workspace *.egg-info .coverage*

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@
