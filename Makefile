# Two commands matter: `make run` does the main job on real images, `make test` passes the tests. Each installs what it needs.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: help run test slow kills bench lint clean

help:  ## say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 12

$(BIN)/bootlight: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(BIN)/bootlight

run: $(BIN)/bootlight  ## three generations on real handwritten digits, about five minutes on two cores
	$(BIN)/bootlight fit --config configs/digits_ddpm.yaml $(ARGS)

test: $(BIN)/bootlight  ## the test suite, on all cores (ARGS="--seconds": how long each file takes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

slow: $(BIN)/bootlight  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

kills: $(BIN)/bootlight  ## interrupt and damage small runs at random, as long as you like (ARGS="--trials 200 --seed 3")
	PYTHONPATH=tests$${PYTHONPATH:+:$$PYTHONPATH} $(BIN)/python -m kills $(ARGS)

bench: $(BIN)/bootlight  ## speed against other tools (ARGS="training data": some of it); writes docs/benchmarks.md
	$(BIN)/pip install --quiet --editable '.[bench]'
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks $(ARGS)

lint: $(BIN)/bootlight  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove the environment and caches; runs stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
