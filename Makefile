PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
TWO_AT_A_TIME := --numprocesses 2 --dist loadfile

.PHONY: demo scheduler test test-slow install lint browser clean

demo: install  ## the default experiment, from images to report
	$(BIN)/roar run

scheduler: install  ## luigid and the page of results, on 127.0.0.1
	$(BIN)/roar scheduler

test: install lint  ## lint, types, and all tests but the slow ones, in two processes
	$(BIN)/python -m pytest -m "not slow" $(TWO_AT_A_TIME)

test-slow: install  ## what takes minutes: kills at random, disks that fill at every stage, a run in a browser
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(STAMP)  ## the environment, once and whenever requirements.txt changes

$(STAMP): requirements.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing requirements.txt into $(VENV): torch with CUDA, 6 GB, a minute or two ..."
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

browser:  ## Chromium and its driver, for the tests in a browser: Debian, as root or with sudo
	command -v chromedriver && command -v chromium || { $(SUDO) apt-get update && \
	  $(SUDO) apt-get install --yes --option Acquire::Retries=3 chromium chromium-driver; }

clean:  ## the environment and the caches of tools, not data/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache test-artefacts
