# make demo and make test are all that a fresh machine with Python 3.11+ needs.
PYTHON ?= python3
# A CUDA build of torch: make setup TORCH="torch==2.13.* --index-url https://…", from the index that torch's own site names.
TORCH ?= torch==2.13.*
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STORAGE ?= .tutelage

.PHONY: setup demo test test-fast check format bench clean
setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $(READY)

demo: setup
	rm -rf $(STORAGE)/sweeps/digits exports/digits
	$(BIN)/tutelage sweep search_spaces/digits.yaml
	$(BIN)/tutelage select digits --policy max-accuracy --max size_bytes=20k --register digits-student
	$(BIN)/tutelage export digits exports/digits --check
	@echo
	@echo "The front as a picture:  $(STORAGE)/sweeps/digits/front.png"
	@echo "The whole report:        $(STORAGE)/sweeps/digits/report.html"
	@echo "In MLflow:               $(BIN)/mlflow ui --backend-store-uri sqlite:///$(STORAGE)/mlflow.db"

test: setup
	$(BIN)/python -m pytest

test-fast: setup
	$(BIN)/python -m pytest -m "not ray and not browser and not slow"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python tests/benchmarks/step_cost.py
	$(BIN)/python tests/benchmarks/overhead.py

clean:
	rm -rf $(VENV) $(STORAGE) exports
