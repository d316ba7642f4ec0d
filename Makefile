# Each target sets up what it needs first; a second run is quick.
#   make demo [PORT=8000] [DATA=.data] [ONCE=1]   set up, play the field day, go on serving (ONCE=1: stop after it)
#   make test [ARGS="-k merge"]                   set up and run all tests
#   make check                                    ruff, mypy, import-linter, printed schema and permission table up to date
#   make fuzz [SEED=1-10] [STEPS=2000]           idle writers for 30 s, then sync under random faults: ten runs with five real terminals
#   make stop [DATA=.data]                        stop a private PostgreSQL that was left running
#   make doctor                                   say what is missing
#   make lock                                     resolve pyproject.toml anew into requirements.lock

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONUNBUFFERED := 1
ifdef PORT
export PORT
endif
ifdef DATA
export DATA
endif

.PHONY: demo test check fuzz format stop doctor lock

demo:
	@$(PYTHON) -m api.bootstrap demo
	@exec python -m api demo $(if $(filter-out 0,$(ONCE)),--once)

test:
	@$(PYTHON) -m api.bootstrap test
	@exec python -m pytest $(ARGS)

check:
	@$(PYTHON) -m api.bootstrap python
	ruff check .
	ruff format --check .
	mypy
	mypy tests
	lint-imports
	python -m api schema --check

fuzz:
	@$(PYTHON) -m api.bootstrap test
	@ZHIJIAN_HELD_SECONDS=30 python -m pytest -n 0 -s tests/lineage/test_standby.py -k misses
	@exec python -m api fuzz --seed $(or $(SEED),1-10) --steps $(or $(STEPS),2000) $(if $(TERMINALS),--terminals $(TERMINALS))

format:
	ruff check --fix .
	ruff format .

stop doctor:
	@python -m api $@

# No addresses in the locks: whoever installs chooses the index.
COMPILE = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"
lock:
	python -m pip install -q uv
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev --output-file requirements.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group node --output-file requirements-node.lock
