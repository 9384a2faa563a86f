# Each target does its own set-up: a machine needs only Python 3.11 or 3.12, make and git.
PYTHON ?= python3
ENV ?= tiny
VENV := .venv
RUN := $(VENV)/bin/python
export OMP_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false
unexport PYTHONDONTWRITEBYTECODE # where a machine sets it, every process compiles what it imports: Composer takes 19 CPU s in place of 8

.PHONY: setup demo test check bench stages clean

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=24" "uv>=0.5"
	SSL_CERT_FILE=$${SSL_CERT_FILE:-$${PIP_CERT:-}} $(VENV)/bin/uv pip install --quiet --python $(RUN) --constraint constraints.txt --editable ".[all,dev]"
	touch $@

demo: setup
	$(if $(filter tiny,$(ENV)),$(VENV)/bin/dolma gather build/tiny/raw)
	$(VENV)/bin/dolma run pipelines --env $(ENV)
	$(VENV)/bin/dolma report --env $(ENV)

test: setup
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder # longest first: tests/conftest.py

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(RUN)
	$(VENV)/bin/lint-imports

bench: setup
	$(RUN) -m benchmarks

stages: setup
	$(RUN) -m benchmarks.stages --env $(ENV)

clean:
	rm -rf build
