# Two commands on a fresh machine with Python 3.11+: `make demo` and `make test`. Both install once.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := agents anomaly benchmarks envs generative lab training

.PHONY: demo test test-long bench lint types clean

demo: .venv/installed
	$(BIN)/lab demo

test: lint types
	$(BIN)/python -m pytest -n 2 -m "not long"

test-long: .venv/installed
	$(BIN)/python -m pytest -m long

bench: .venv/installed
	$(BIN)/python -m benchmarks.agents --algo ppo

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/installed
	$(BIN)/mypy $(addprefix -p ,$(PACKAGES))

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache
