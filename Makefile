PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest
AUDIT := .venv-audit
MOTO := .venv-moto
SECONDS := 60
DEMO := demo
SWEEP := sweeps/scenes
ONLY :=
DEVICE := cpu
PHOTOS := sweeps/photos
BACKBONE := lite
KEEPS := 0.1,0.5,0.9
SEEDS := 0,1,2
GRID := --tune-lr 5e-4,2e-3,8e-3 --tune-epochs 10 --tune-loss asl,bce --tune-keep 0.5
PAGES := docs
SCREENSHOTS :=
WORKERS := 2
PYTEST = -m pytest --numprocesses $(WORKERS) --dist worksteal

.PHONY: install lint test browser-test ray-test trust fuzz lowest audit licences demo review-demo docs results results-fast \
	results-photos bench wheel clean

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

# Two processes by default: WORKERS says how many, 0 is one after another in this one.
test: lint
	$(BIN)/python $(PYTEST)

# The pages in Chromium, which is the system's (Debian: apt-get install chromium) or the program that MLRPL_CHROMIUM names.
# SCREENSHOTS is a folder for pictures of them.
browser-test: $(VENV)/.browser
	$(BIN)/python -m pytest -m browser tests/browser $(if $(SCREENSHOTS),--screenshots "$(SCREENSHOTS)")

$(VENV)/.browser: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[browser]'
	touch $@

# Prediction on a real Ray, whose machines and workers are killed, and on an S3 server: moto's, in an installation of its own,
# since botocore needs older packages than those that are pinned.
ray-test: $(VENV)/.ray $(MOTO)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/cluster

$(VENV)/.ray: $(READY)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[ray]'
	touch $@

$(MOTO)/.ready:
	$(PYTHON) -m venv $(MOTO)
	$(MOTO)/bin/python -m pip install --quiet 'moto[server]>=5'
	touch $@

# About an hour: what make test does a little of, with hundreds of kills and, where atheris has wheels, the fuzzer.
trust: $(READY)
	$(BIN)/python -m pytest -m slow

# The fuzzer for SECONDS on each reader.
fuzz: $(READY)
	$(BIN)/python -m tests.fuzz all --seconds $(SECONDS)

# The tests once more, with the lowest versions that setup.cfg declares. Not lint: what it finds depends on the types that
# the libraries declare, which older ones declare otherwise.
lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python $(PYTEST)

$(LOWEST)/.ready: setup.cfg pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -c constraints-lowest.txt -e '.[dev]'
	touch $@

# Known vulnerabilities of what is pinned, and licences that mlrpl's own would not go with.
audit: $(READY) $(AUDIT)/.ready
	$(AUDIT)/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt
	$(AUDIT)/bin/pip-licenses --python $(BIN)/python --partial-match --fail-on "GNU;GPL"

licences: $(READY) $(VENV)/.browser $(VENV)/.ray $(AUDIT)/.ready
	$(BIN)/python scripts/make_licences.py $(AUDIT)/bin/pip-licenses

$(AUDIT)/.ready:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet 'pip-audit>=2.9' 'pip-licenses>=5'
	touch $@

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/mlrpl prepare --dataset scenes --keep 0.3 --out $(DEMO)/prepared
	$(BIN)/mlrpl train --data $(DEMO)/prepared --run $(DEMO)/run
	$(BIN)/mlrpl eval --run $(DEMO)/run
	$(BIN)/mlrpl predict $(DEMO)/prepared/images/test/00000.png --run $(DEMO)/run
	$(BIN)/mlrpl visualize --run $(DEMO)/run
	@echo "look at $(DEMO)/run/figures/attention-1.png, curves.png and average-precision.png"

# 1,000 answers through the page of mlrpl review, as its queue asks them and at random, and what they are worth.
review-demo: $(READY)
	$(BIN)/python -m scripts.review_demo demo-review $(or $(SEED),0)

# Scenes of seed 1: methods were chosen on those of seed 0 (docs/trials.md). A sweep that was stopped goes on.
$(SWEEP)/data $(SWEEP)-fast/data: | $(READY)
	$(BIN)/mlrpl prepare --dataset scenes --scenes-seed 1 --keep 1 --out $@

results: $(SWEEP)/data
	$(BIN)/mlrpl sweep --data $< --out $(SWEEP) --jobs 2
	$(BIN)/python scripts/make_results.py $(SWEEP) docs

results-fast: $(SWEEP)-fast/data
	$(BIN)/mlrpl sweep --data $< --out $(SWEEP)-fast --jobs 2 --keep 0.1,0.5,0.9 --seeds 0 --no-tune --set epochs=10
	$(BIN)/python scripts/make_results.py $(SWEEP)-fast $(SWEEP)-fast
	@echo "look at $(SWEEP)-fast/results.md"

# ROOT is a folder of VOC 2007, all of its photographs or some. FOLDS is a file of folds (image,fold), without which its own
# test split is measured; GRID is what is tuned, and empty the whole grid or, with --no-tune, none; MORE is whatever else
# mlrpl sweep takes. PAGES/results-photos.md is written.
results-photos: $(READY)
	$(if $(ROOT),,$(error name a folder of VOC 2007: make results-photos ROOT=VOCdevkit))
	$(BIN)/mlrpl sweep --dataset voc --year 2007 --root "$(ROOT)" --out $(PHOTOS) --jobs 2 --set backbone=$(BACKBONE) \
		--set batch_size=64 $(GRID) --keep $(KEEPS) --seeds $(SEEDS) $(if $(FOLDS),--folds "$(FOLDS)") $(MORE)
	$(BIN)/python -m scripts.make_results_photos $(PHOTOS) $(PAGES) $(if $(FOLDS),"$(FOLDS)")

# Minutes: set ONLY to measure some parts, DEVICE=cuda for a GPU.
bench: $(READY)
	$(BIN)/python -m benchmarks --only "$(ONLY)" --device $(DEVICE)

docs: $(READY)
	$(BIN)/python scripts/make_cli_docs.py
	$(BIN)/python scripts/make_options_docs.py
	$(BIN)/python scripts/make_json_docs.py

# What pip installs without a clone: dist/mlrpl-VERSION-py3-none-any.whl. No build folder, which would keep old files.
wheel: $(READY)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build

clean:
	rm -rf $(VENV) $(LOWEST) $(AUDIT) $(MOTO) $(DEMO) demo-review sweeps build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
