# Needs make, Python 3.11 or later, and a package index that pip can reach. `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
KEEP ?=
# Three processes for two cores: the tests wait for servers and workers for a third of their time.
# In the order of the folders, so that the short files of tests/unit come last and every process ends at about the same time.
PYTEST_ARGS ?= -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/alerts --ignore=tests/browser --ignore=tests/ha
# Tests whose server and workers can be containers. The others test programs of this machine.
DOCKER_TESTS = $(addprefix tests/integration/test_,$(addsuffix .py,client command_id contract matrix operator reconcile refusals secrets signature_age survival))
DOCKER_ARGS ?= -n 2 --dist loadfile

BIN = $(VENV)/bin
# The demo installs what it needs and no more, unless the developer's environment is there already.
DEMO_VENV = $(if $(wildcard $(VENV)/.installed),$(VENV),.venv-demo)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-lowest test-flower test-desk test-ha test-docker celery-suite measure check alerts-test faults faults-short stress \
  bench bench-light bench-long model image stack-test lock upgrade schemas coverage docs diagrams wheels clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "Another Python: make test PYTHON=python3.13 VENV=.venv-3.13"

demo: $(DEMO_VENV)/.installed ## a worker, three venues and an embedded server on this machine, shown at work (KEEP=1: keep them running)
	@$(DEMO_VENV)/bin/orders demo $(if $(filter-out 0,$(KEEP)),--keep)

test: $(VENV)/.installed ## all tests (PYTEST_ARGS="-k name", PYTEST_ARGS='-m "not integration"')
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-lowest: .venv-lowest/.installed ## the fast tests with the lowest versions that pyproject.toml allows (4 minutes)
	.venv-lowest/bin/python -m pytest $(PYTEST_ARGS) -m 'not integration'

coverage: $(VENV)/.installed ## branch coverage by the fast tests, subprocesses not counted (10 minutes; COVERAGE_ARGS="tests/unit/producers")
	$(BIN)/python -m coverage run -m pytest -p no:cacheprovider -q -m 'not integration' $(COVERAGE_ARGS)
	$(BIN)/python -m coverage report --skip-covered --show-missing

test-flower: $(VENV)/.installed ## Flower, Prometheus and the desk in a real browser (needs Debian's chromium, chromium-driver, prometheus); pictures in .artefacts/
	$(BIN)/python -m pytest tests/browser

test-desk: $(VENV)/.installed ## the ten nights of docs/nights.md in a real browser (needs Debian's chromium, chromium-driver; npm for axe-core); pictures in .artefacts/
	$(BIN)/python -m pytest -rP tests/browser/test_desk.py

test-ha: $(VENV)/.installed ## Sentinel, TLS and RabbitMQ for real (needs Debian's redis-server and rabbitmq-server)
	$(BIN)/python -m pytest tests/ha

celery-suite: $(VENV)/.installed ## Celery's own integration tests over our transport and result backend, beside stock Celery (50 minutes)
	$(BIN)/python -m tests.celery_suite

measure: $(VENV)/.installed ## the figures of docs/scaling.md (8 minutes; needs the packages of test-ha; MEASURE_ARGS="--parts cpu,failover")
	$(BIN)/python -m tests.ha.measure $(MEASURE_ARGS)

check: $(VENV)/.installed ## everything that must hold before a commit, tests aside
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m producers.json_schemas --check
	$(BIN)/python .ci/lock.py --check

alerts-test: $(VENV)/.installed ## each alert fired for real, by Debian's prometheus and prometheus-alertmanager over workers under load (1 minute)
	$(BIN)/python -m pytest tests/alerts

faults-short: $(VENV)/.installed ## each fault alone, on real processes; limits and lanes under kills (3 minutes)
	$(BIN)/python -m pytest tests/faults -n 2 --dist loadfile
	$(BIN)/python -m tests.faults.limits
	$(BIN)/python -m tests.faults.lanes

faults: $(VENV)/.installed ## the long form: workers killed every second under load, everything else broken in between (15 minutes)
	$(BIN)/python -m tests.faults.long --minutes 10 --rate 100 --kill-every 1

stress: $(VENV)/.installed ## venues that refuse, hang and ban, floods, thousands of parked commands (20 minutes; STRESS_ARGS="--scenarios refuses,ban")
	$(BIN)/python -m tests.stress $(STRESS_ARGS)

bench: $(VENV)/.installed .venv-bench/.installed ## this worker beside bare Celery and Dramatiq: throughput and a light load, 2 rounds (6 minutes; BENCH_ARGS="--parts age")
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

bench-light: $(VENV)/.installed .venv-bench/.installed ## enqueueing to the wire at 100 commands/s beside other load: every contender, 3 rounds (8 minutes; LIGHT_ARGS="--rounds 1")
	$(BIN)/python -m tests.benchmarks --long --parts light --rounds 3 --light-seconds 20 $(LIGHT_ARGS)

bench-long: $(VENV)/.installed .venv-bench/.installed ## everything that the project is held to: every contender, 5 rounds (25 minutes)
	$(BIN)/python -m tests.benchmarks --long $(BENCH_ARGS)

model: $(VENV)/.installed ## the long forms of the model (10 minutes) and of the simulation (170,000 seeds, 7 minutes)
	$(BIN)/python -m tests.model.checker --long
	$(BIN)/python -m tests.model.simulation --seeds 100000 --processes 2
	$(BIN)/python -m tests.model.simulation --seeds 60000 --processes 2 --operator
	$(BIN)/python -m tests.model.simulation --seeds 10000 --processes 2 --people reconcile

image: ## the worker's image and the simulator's, from this tree (BASE_IMAGE=...; see compose/Dockerfile)
	compose/build

stack-test: $(VENV)/.installed ## the whole stack in containers: built without a registry, started, used, broken, removed (5 minutes; KEEP=1: keep the images)
	$(BIN)/python -m tests.stack

test-docker: $(VENV)/.installed ## integration tests with server and workers in containers instead of local processes (4 minutes)
	$(BIN)/python -m tests.support.images $(BIN)/python -m pytest $(DOCKER_TESTS) $(DOCKER_ARGS)

lock: $(VENV)/.installed ## compile the lock files from pyproject.toml (versions already locked stay)
	$(BIN)/python .ci/lock.py

upgrade: $(VENV)/.installed ## compile the lock files with the newest versions allowed
	$(BIN)/python .ci/lock.py --upgrade

schemas: $(VENV)/.installed ## write producers/schemas/ from the models
	$(BIN)/python -m producers.json_schemas

docs: $(VENV)/.installed ## the documentation as a site with a search, in build/docs (15 seconds; no network)
	@$(BIN)/python .ci/docs.py

diagrams: $(VENV)/.installed ## draw the diagrams that the site shows, after one was changed (needs npm, chromium, chromium-driver)
	@$(BIN)/python .ci/diagrams.py

wheels: $(VENV)/.installed ## build both wheels into dist/
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist producers
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove environments, caches and build results
	rm -rf .venv .venv-* .demo build dist *.egg-info producers/*.egg-info .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find producers worker tests .ci -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is updated when its lock file, or a file that describes the distributions, is newer than it. `make clean`
# removes it.
DISTRIBUTIONS = pyproject.toml producers/pyproject.toml producers/setup.cfg

.venv-demo/.installed: requirements-demo.lock $(DISTRIBUTIONS)
	$(call environment,.venv-demo,requirements-demo.lock)

$(VENV)/.installed: requirements.lock $(DISTRIBUTIONS)
	$(call environment,$(VENV),requirements.lock)

.venv-lowest/.installed: requirements-lowest.lock $(DISTRIBUTIONS)
	$(call environment,.venv-lowest,requirements-lowest.lock)

# The libraries that the benchmarks compare with. --no-deps: the file lists every package, and says why.
.venv-bench/.installed: tests/benchmarks/requirements-peers.txt
	@echo "Setting up .venv-bench with $$($(PYTHON) --version); a minute or less, once …"
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv --clear .venv-bench
	@echo '*' > .venv-bench/.gitignore
	@.venv-bench/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps -r $<
	@touch $@

define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Install one and name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) .ci/environment.py $(1) $(2)
	@touch $@
endef
