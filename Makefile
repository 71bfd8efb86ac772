# Two commands to know: `make run` and `make test`. Both do all their set-up from Python 3.11+ alone, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
FAULTS := tests/faults
INJECT := QLORA_STUDIO_LONG_FAULTS=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -p tests.faults.table --faults-into docs/faults.md
ATTACK := QLORA_STUDIO_TIMED_ATTACKS=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -p tests.security.table --attacks-into docs/attacks.md
PAGELESS := tests/training tests/engine tests/protocol tests/ingest tests/modelfiles tests/audio tests/db tests/core tests/storage tests/listening tests/api
ON_POSTGRESQL := tests/db tests/services tests/api tests/state tests/jobs tests/commands tests/ingest tests/storage tests/listening
# The fast tests: what imports torch (and some that import little) in one run, what imports the pages in
# another, half the cores for each; so nobody imports both worlds. Their folders are in memory where the machine has two gigabytes for it.
HALF := $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) + 1) / 2 )))
MEMORY := $(shell df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 2000 { print "TMPDIR=/dev/shm" }')
FAST := OMP_NUM_THREADS=1 $(MEMORY) $(VENV)/bin/pytest -q -n $(HALF:1=0) --dist loadfile -m "not slow and not browser and not gpu"
export PATH := $(CURDIR)/$(BIN):$(PATH)
export REFLEX_USE_NPM := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run build check lint fast fast-pages fast-pageless test test-postgresql screens bench faults security lab-day audit starter starter-sound clean help

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

run: $(STAMP) ## Build the pages if they changed, and serve on one port (QLORA_STUDIO_PORT, 3000)
	@$(BIN)/python -m qlora_studio.serve

build: $(STAMP) ## Build the pages only
	@$(BIN)/python -c "from qlora_studio.serve import build; build()"

check: $(DEV_STAMP) ## Lint, types, layers and the fast tests
	@$(MAKE) --no-print-directory -j3 fast-pages fast-pageless lint

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	NODE_OPTIONS=--max-semi-space-size=128 $(BIN)/pyright

fast: fast-pages fast-pageless

fast-pages:
	$(FAST) tests --ignore=tests/browser $(PAGELESS:%=--ignore=%)

fast-pageless:
	$(FAST) $(PAGELESS)

# What starts processes of its own shares the cores, and so do faults, which mostly wait; what watches a browser has them to itself.
test: check .cache/chromium ## Everything: check, then trainings, servers and faults, and a real browser
	@$(BIN)/python -c "from qlora_studio.serve import build; build()"
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist load -m "slow and not browser and not gpu" tests --ignore=tests/browser $(FAULTS:%=--ignore=%)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 3 --dist load -m "slow and not gpu" $(FAULTS)
	$(BIN)/pytest -q -m "browser and not gpu" tests/browser

test-postgresql: $(DEV_STAMP) ## The tests of what touches the database, on a real PostgreSQL server of their own
	OMP_NUM_THREADS=1 $(MEMORY) $(BIN)/pytest -q -n auto --dist loadfile -m "not browser and not gpu" --database postgresql $(ON_POSTGRESQL)

screens: $(DEV_STAMP) .cache/chromium ## Walk every page in Chromium at three widths, light and dark, into .screens/
	$(BIN)/python -m scripts.screens

bench: $(DEV_STAMP) ## Measure the ratios of docs/, competitor in the same log
	$(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	@for file in benchmarks/p*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

# The long variants too; the table is kept in docs/faults.md.
faults: $(DEV_STAMP) .cache/chromium ## Inject faults, look, and print the table of what was seen
	@$(BIN)/python -c "from qlora_studio.serve import build; build()"
	$(INJECT) -m "fault and not browser and not gpu" tests
	$(INJECT) -m "fault and browser" --faults-add tests/browser

# The table is kept in docs/attacks.md.
security: $(DEV_STAMP) .cache/chromium ## Attack a running server, and print the table of what it answered
	@$(BIN)/python -c "from qlora_studio.serve import build; build()"
	$(ATTACK) -m "attack and not browser and not gpu" tests
	$(ATTACK) -m "attack and browser" --attacks-add tests/browser
	QLORA_STUDIO_SCHEMA_S=$${QLORA_STUDIO_SCHEMA_S:-75} $(BIN)/pytest -q -s tests/security/test_schema.py

lab-day: $(DEV_STAMP) .cache/chromium ## A day of seven people, in browsers and by command, and its audit log
	@$(BIN)/python -c "from qlora_studio.serve import build; build()"
	QLORA_STUDIO_LAB_DAY=1 $(BIN)/pytest -q -s tests/browser/test_lab_day.py

audit: $(DEV_STAMP) ## Look the pinned packages up in the advisories of PyPI and npm (needs them in reach)
	$(BIN)/pip install -q -c constraints.txt -e '.[audit]'
	@$(BIN)/python -m scripts.audit

starter: $(DEV_STAMP) ## Rebuild the starter model from its recipe
	$(BIN)/python -m scripts.starter.build --work .cache/starter

starter-sound: $(DEV_STAMP) ## Rebuild the starter sound model from its recipe (an hour)
	$(BIN)/python -m scripts.starter_sound.build --work .cache/starter-sound

clean: ## Remove what was built (never the data folder)
	rm -rf .web .cache .screens $(STAMP) $(DEV_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make run PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

.cache/chromium: | $(DEV_STAMP)
	$(BIN)/python -m scripts.setup_browser
