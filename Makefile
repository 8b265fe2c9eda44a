# Two commands: `make study` and `make test`. Each sets everything up in .venv and needs nothing else
# than Python 3.11 or newer with its venv module.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help study test test-all lint report constraints clean

help:  ## Print this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

study: .venv/installed  ## Run the quick study: a few minutes on two cores.
	$(BIN)/python -m qbench.run studies/quickstart.yaml

test: lint  ## Check style and types, and run the tests.
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --no-loadscope-reorder

test-all: lint  ## Run the slow tests too, and those that need a GPU where there is one.
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

report: .venv/installed  ## Write the quick study's report again.
	$(BIN)/python -m qbench.report studies/quickstart.yaml

# uv takes torch and torchvision as one matched pair; it is itself installed by pip. Compiling at once
# makes every later start quick, also where Python may not write its cache.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qbench needs Python 3.11 or newer; name one with make PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraints constraints.txt --editable '.[test]'
	$(BIN)/python -m compileall -q qbench
	touch $@

constraints: .venv/installed  ## Resolve the pins of all dependencies again.
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --extra test \
	  --extra torchao --extra brevitas --extra server --extra storage pyproject.toml --output-file constraints.txt

clean:  ## Remove the environment and the caches; results stay.
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
