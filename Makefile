# `make demo` and `make test` need python3 (3.11 or newer) and nothing else; packages come from the hash-locked lists.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(LOCKFLAGS)

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint format bench soak differential clients lock clean

help:
	@echo "make demo      trade twenty minutes of a market made from a seed, on paper and at full speed"
	@echo "make test      run the tests (TESTFLAGS=... are pytest's)"
	@echo "make coverage  run the tests and report what they do not reach"
	@echo "make lint      ruff and mypy over the whole tree"
	@echo "make bench     measure this machine"
	@echo "make soak      let network layer and gateway run side by side, cut once a minute (SECONDS=900)"
	@echo "make differential  make the environment of the other simulator; test and bench then compare with it"
	@echo "make clients   make the environment of other people's clients; test then lets them trade on our emulator"
	@echo "make lock      resolve requirements/*.txt again (LOCKFLAGS=--upgrade for newer versions)"
	@echo "make clean     remove .venv and caches; runs/ stays"

demo: .venv/.run
	$(BIN)/basisd paper configs/demo.toml --speed max --metrics-port 0 --quiet

test: .venv/.dev
	$(BIN)/python $(RECORDER) -m pytest $(TESTFLAGS)

coverage: RECORDER := -m coverage run
coverage: test
	$(BIN)/python -m coverage report

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.run
	$(BIN)/basisd bench

# Each ends with what it found, and with status 1 and a line for each promise that was broken.
soak: SECONDS ?= 900
soak: .venv/.dev
	$(BIN)/python -m benchmarks.soak_net --seconds $(SECONDS) & net=$$!; \
	$(BIN)/python -m benchmarks.soak_gateway --seconds $(SECONDS); gateway=$$?; \
	wait $$net && exit $$gateway

differential: .venv-differential/.done

clients: .venv-clients/.done

# A machine's own package folders must not shape the locks: they hold one platform's files.
lock: .venv/.dev
	$(BIN)/python requirements/inputs.py run | env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
		$(COMPILE) --output-file requirements/run.txt -
	$(BIN)/python requirements/inputs.py dev | env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
		$(COMPILE) --constraint requirements/run.txt --output-file requirements/dev.txt -
	$(BIN)/python requirements/inputs.py differential | env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
		$(COMPILE) --output-file requirements/differential.txt -
	$(BIN)/python requirements/inputs.py clients | env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
		$(COMPILE) --output-file requirements/clients.txt -

clean:
	rm -rf .venv .venv-differential .venv-clients .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "basisd needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The lists pin the build backend as well, so that nothing is downloaded unchecked.
.venv/.run .venv/.dev: .venv/.%: requirements/%.txt pyproject.toml | .venv/bin/python
	$(PIP) install --quiet --require-hashes --requirement $<
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv-differential/.done .venv-clients/.done: .venv-%/.done: requirements/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement $<
	touch $@
