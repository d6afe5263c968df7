# From an empty clone: `make demo` shows the product, `make test` checks it. Both set up .venv first.

BIN := .venv/bin
INSTALLED := .venv/.installed
TYPES := .venv/.types
SECONDS := 300
SEED := $(shell date +%s)
# Each worker has a Postgres and a Kafka of its own. Whole files, and all that share a stack, go to a
# worker, the longest first (tests/conftest.py).
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
# The tests start some hundred Python processes: keep what they compile.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help venv demo up lint style check test fuzz

help:
	@echo "make demo [ARGS=--once]   run everything with a seeded company, a live stream of deals, a month's end"
	@echo "make up [ARGS=--fresh]    run everything and keep its state"
	@echo "make test                 lint, types, import rules and all tests"
	@echo "make fuzz [SECONDS=300]   look for inputs that break a parser, so long for each source, and properties;"
	@echo "                          SEED=… looks where a run before has looked"
	@echo "make check                the tests that need no server"
	@echo "make lint                 the checks without the tests"
	@echo "make venv                 only set up .venv"

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt deploy/local/make-venv.sh
	@sh deploy/local/make-venv.sh .venv
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/attain demo $(ARGS)

up: $(INSTALLED)
	@$(BIN)/attain up $(ARGS)

lint: style
	$(BIN)/mypy

style: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

check: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/unit tests/property $(ARGS)

# What takes seconds is told at once, what mypy finds is told after the tests that run beside it.
test: style
	@$(BIN)/mypy >$(TYPES) 2>&1 & checking=$$!; \
	$(BIN)/python -m pytest $(WORKERS) $(ARGS); tests=$$?; \
	wait $$checking; types=$$?; echo $(BIN)/mypy; cat $(TYPES); exit $$((tests || types))

fuzz: $(INSTALLED)
	$(BIN)/python -m pytest --hypothesis-profile=exploring --hypothesis-seed=$(SEED) -m hypothesis $(ARGS)
	ATTAIN_FUZZ_SECONDS=$(SECONDS) ATTAIN_FUZZ_SEED=$(SEED) $(BIN)/python -m pytest --timeout=0 tests/fuzz $(ARGS)
