# `make demo` and `make test` need only Python 3.11 to 3.13 and make, on Linux with glibc: they install
# into .venv first, with the exact versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A process for each core, four at most: each holds TensorFlow. Those that have ended help the others.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: help demo test test-slow coverage check docs examples release-check lock clean

help:  ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*##  *\(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS='|' read -r name what; do printf 'make %-14s %s\n' "$$name" "$$what"; done

demo: $(INSTALLED)  ## the main job on the embedded data
	$(BIN)/kaggle-digits run --workspace demo-workspace

test: $(INSTALLED)  ## the test suite
	$(BIN)/python -m pytest -q $(PARALLEL)

test-slow: $(INSTALLED)  ## the long tests, those on the competition's files too
	$(BIN)/python -m pytest -q -m slow

coverage: $(INSTALLED)  ## the test suite, and the lines and branches that it does not run
	$(BIN)/python -m pytest -q $(PARALLEL) --cov --cov-report=term

check: $(INSTALLED)  ## lint, types, architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_architecture.py

docs: $(INSTALLED)  ## docs/commands.md and docs/python-api.md anew, and the pages as a site in build/site
	$(BIN)/python docs/generate.py
	$(BIN)/python -m mkdocs build --strict --quiet

examples: $(INSTALLED)  ## the notebooks executed anew, with their outputs
	$(BIN)/python examples/execute.py

release-check: $(INSTALLED)  ## sdist and wheel: content, and a quick job on the lowest and highest versions
	$(BIN)/python .ci/release_check.py

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
