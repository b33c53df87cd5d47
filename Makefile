# make demo and make test are all that a fresh machine with Python 3.11+ needs.
PYTHON ?= python3
# A CUDA build of torch: make setup TORCH="torch==2.13.* --index-url https://…", from the index that torch's own site names.
TORCH ?= torch==2.13.*
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SCHEMA := search_spaces/spec.schema.json
DEMO ?= .tutelage-demo
PARALLEL ?= -n auto --maxprocesses 4

.PHONY: setup demo test test-fast mutants check format docs bench explorer explorer-check clean
.DELETE_ON_ERROR:
setup: $(READY) $(SCHEMA)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $(READY)

# For editors. It has the names of all plugins, so git does not keep it: a new plugin is one file.
$(SCHEMA): $(READY) $(shell find platform -name "*.py")
	$(BIN)/tutelage schema > $@

# The demo has a storage of its own, so that it never touches yours.
demo: setup
	rm -rf $(DEMO)
	$(BIN)/tutelage sweep search_spaces/digits.yaml --set storage=$(DEMO)
	$(BIN)/tutelage select digits --storage $(DEMO) --policy best-quality --max size_bytes=20k --register digits-student
	$(BIN)/tutelage export digits $(DEMO)/digits-student --storage $(DEMO) --check
	@echo
	@echo "The front as a picture:  $(DEMO)/sweeps/digits/front.png"
	@echo "The whole report:        $(DEMO)/sweeps/digits/report.html"
	@echo "In MLflow:               $(BIN)/mlflow ui --backend-store-uri sqlite:///$(DEMO)/mlflow.db"

# Ray has a cluster for all of its tests, and takes every core; the others share the cores among processes.
test: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "not ray and not browser"
	$(BIN)/python -m pytest -m "ray or browser"

test-fast: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "not ray and not browser and not slow"

# Breaks the package line by line (tests/mutants/); a test must fail for each breakage. ARGS="--room losses --jobs 4" runs some of it.
mutants: setup
	$(BIN)/python -m tests.mutants $(ARGS)

# The lowest versions that pyproject.toml allows, in an environment of their own. On Linux that is a CUDA build of torch, several GB;
# LOWEST_TORCH="torch==2.13.0" takes pip's torch of that version instead.
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --output-file $(LOWEST)/lowest.txt pyproject.toml
ifdef LOWEST_TORCH
	sed -i -E '/^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==/d' $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet "$(LOWEST_TORCH)"
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --requirement $(LOWEST)/lowest.txt
endif
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --requirement $(LOWEST)/lowest.txt --group dev
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --no-deps --editable .
	$(LOWEST)/bin/python -m pytest $(PARALLEL) -m "not ray and not browser and not slow"
	$(LOWEST)/bin/python -m pytest tests/export/test_export.py tests/networks/test_scanned.py tests/networks/test_onnx_int8.py

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy -p tests

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The reference of the spec's keys, which git keeps, and the API pages; site/tutelage/api.html is the first.
docs: setup
	$(BIN)/python docs/spec_page.py
	$(BIN)/python docs/api.py site

# The explorer's page, from its TypeScript; needs Node 20 or later. Git keeps what it builds, so nobody else needs Node.
explorer:
	cd dashboards/explorer && npm ci --no-fund --no-audit && npm run build

# Types, lint and unit tests of the page, and whether the built files are those of the source.
explorer-check:
	cd dashboards/explorer && npm ci --no-fund --no-audit && npm run check && EXPLORER_OUT=node_modules/.built npm run build
	diff -rq dashboards/explorer/node_modules/.built platform/tutelage/dashboard/static

bench: setup
	$(BIN)/python tests/benchmarks/step_cost.py
	$(BIN)/python tests/benchmarks/overhead.py

# What make wrote, and nothing of yours: sweeps, registry and MLflow database in .tutelage stay.
clean:
	rm -rf $(VENV) $(LOWEST) $(DEMO) $(SCHEMA) site .pytest_cache .mypy_cache .ruff_cache
