PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo

.PHONY: install lint test demo docs clean

install: $(READY)

# The stamp comes last, so that an install that was interrupted is done again.
$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/mlrpl prepare --dataset scenes --keep 0.3 --out $(DEMO)/prepared
	$(BIN)/mlrpl train --data $(DEMO)/prepared --run $(DEMO)/run
	$(BIN)/mlrpl eval --run $(DEMO)/run
	$(BIN)/mlrpl predict $(DEMO)/prepared/images/test/00000.png --run $(DEMO)/run
	$(BIN)/mlrpl visualize --run $(DEMO)/run
	@echo "look at $(DEMO)/run/figures/attention-1.png, curves.png and average-precision.png"

docs: $(READY)
	$(BIN)/python scripts/make_cli_docs.py

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
