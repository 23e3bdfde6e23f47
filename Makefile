# The same commands on a laptop and in continuous integration. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo
WORKERS ?= 2
MINUTES ?= 10
SEED ?= 0

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROJECTS := . $(wildcard packages/moue-models)
MANIFESTS := $(wildcard pyproject.toml hatch_build.py packages/*/pyproject.toml packages/*/hatch_build.py)
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile
BROWSERS := chromium chromium-browser google-chrome

# Reading: the base install with the extras that add engines, formats and figures to it, and what its tests need.
PYTHONS ?= 3.10 3.11 3.12 3.13
READING_TESTS := tests/runtime tests/compat tests/data tests/cli/test_data.py tests/cli/test_models.py \
    tests/cli/test_predict.py tests/test_bundled.py tests/test_image.py tests/test_layers.py tests/test_tta.py \
    --deselect tests/cli/test_data.py::test_info_draws_images  # its grid of augmented images needs torch
READING_TOOLS := pytest pytest-timeout hypothesis onnx pandas scikit-image rtsp

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-scale test-matrix coverage lint format docs bench bench-all fuzz check-scores check-privacy wheel test-pythons release docker-test browser clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

install: $(STAMP)  ## create .venv and install moue from this checkout, with all that developing it takes

# Rebuilt when a manifest or a pin changes; otherwise a second call costs nothing. Sources are installed editable.
$(STAMP): constraints.txt $(MANIFESTS)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV), a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt pip
	@PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt \
	    --editable '.[dev]' $(patsubst %,--editable ./%,$(filter-out .,$(PROJECTS)))
	@touch $@

demo: install  ## read a photo with the bundled model, then train and compare three small networks on synthetic faces
	@$(BIN)/python scripts/astronaut.py $(OUT)/astronaut.png
	$(BIN)/moue predict $(OUT)/astronaut.png --out $(OUT)/faces
	$(BIN)/moue compare demo/googlenet demo/resnet50v2 demo/vit --data synth --out $(OUT)/study
	@ls $(OUT)/faces $(OUT)/study >/dev/null
	@echo "the annotated photo: $(OUT)/faces/astronaut.png   the comparison: $(OUT)/study/comparison.html"

test: install browser lint  ## lint, types, tests (in WORKERS processes, 2 by default)
	@$(PYTEST)

coverage: install browser  ## the tests again, with the lines of moue that none of them runs
	@$(PYTEST) --cov --cov-report=term-missing:skip-covered

test-scale: install  ## the tests that start a Ray cluster of their own, a minute or two
	@$(BIN)/python -m pytest -m cluster

# Reading is promised for all of PYTHONS, training for the Python of .venv. Most pins of constraints.txt need Python 3.11:
# on 3.10 pip chooses the versions.
test-matrix: install  ## the tests of reading and of the base install on each Python of 3.10 to 3.13 that is installed
	@rm -rf build/matrix && mkdir -p build/matrix
	@PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/matrix $(PROJECTS)
	@for version in $(PYTHONS); do \
	    python=$$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
	    python=$${python:-$$(command -v python$$version)} || { echo "Python $$version is not installed"; continue; }; \
	    echo "Python $$version"; set -e; \
	    pins=$$(test $$version = 3.10 || echo --constraint constraints.txt); \
	    $$python -m venv build/matrix/$$version; \
	    build/matrix/$$version/bin/python -m pip install --quiet --disable-pip-version-check $$pins $(READING_TOOLS) \
	        "$$(ls build/matrix/moue-*.whl)[fast,heif,parquet,report]" $$(ls build/matrix/moue_models-*.whl); \
	    build/matrix/$$version/bin/python -m pytest $(READING_TESTS); \
	done

lint: install  ## ruff's rules and format, and mypy: strict on src, plain on tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "The format is not ruff's. Type: make format" >&2; exit 1; }
	@$(BIN)/mypy

format: install  ## let ruff fix what it can and format the rest
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: install  ## build the documentation site into site/, and the help of the server's page
	@$(BIN)/python scripts/help_page.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# PEER is the Python of an environment that has `fer` (docs/models.md says how to make it), DATA is fer2013.csv.zip.
bench: install  ## time reading, beside fer with PEER=path/to/its/python, into results/bench.md, and README's ratios
	@$(BIN)/moue bench $(if $(PEER),--peer-python "$(PEER)") $(if $(DATA),--data "$(DATA)") --out results
	@$(BIN)/python scripts/readme_ratios.py

bench-all: install  ## time training and serving on this machine, too
	@$(BIN)/python benchmarks/training.py --out build/bench/training.md
	@$(BIN)/python benchmarks/serving.py --soak --json build/bench/serving.json

check-scores: install  ## score the shipped models on DATA=fer2013.csv.zip (VOTES=fer2013new.csv) and compare with their specs
	@test -n "$(DATA)" || { echo "which data set? Type: make check-scores DATA=fer2013.csv.zip" >&2; exit 2; }
	@$(BIN)/python scripts/check_scores.py "$(DATA)" $(if $(VOTES),--votes "$(VOTES)") $(if $(VIEWS),--views)

fuzz: install  ## throw hostile inputs at every entry point for MINUTES (10 by default); SEED=1 makes others
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

check-privacy: install  ## watch a reader and a server for 40 s: they may ask the DNS for no name
	@$(BIN)/python scripts/check_privacy.py

wheel: install  ## build the wheels and read a photo with the base install alone
	@$(BIN)/python scripts/astronaut.py build/astronaut.png
	@$(BIN)/python scripts/check_wheel.py build/astronaut.png

test-pythons: install  ## build the wheel, install it on each Python of 3.10 to 3.13, and compare with recorded results
	@$(BIN)/python scripts/release.py --pythons-only

release: install  ## all of a release but its upload: builds, checks, SBOM, licenses, known vulnerabilities
	@$(BIN)/python scripts/release.py --report results/release.md

docker-test: install  ## build the container image with docker or podman, and read a photo with it (BUILD="arguments")
	@$(BIN)/python scripts/astronaut.py build/astronaut.png
	@$(BIN)/python scripts/check_image.py build/astronaut.png --build "$(BUILD)"

# Browser tests drive Chromium through playwright; Debian's package will do, so none is downloaded.
browser:
	@command -v $(BROWSERS) >/dev/null && exit 0; \
	if command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
	    echo "installing chromium for the browser tests"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	else \
	    echo "The browser tests need Chromium. Install the package 'chromium' (Debian: sudo apt-get install chromium) and type make test again." >&2; \
	    exit 1; \
	fi

clean:  ## remove what the other targets made, including .venv
	rm -rf $(VENV) $(OUT) site build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
