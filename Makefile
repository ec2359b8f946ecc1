# Every target does its own set-up: `make demo` and `make test` work in a fresh clone.

PYTHON ?= python3
ARGS ?=

STAMP := .venv/.installed
INPUTS := pyproject.toml setup.py constraints.txt
# Two makes at once take turns at the set-up. Systems without flock(1) just do it.
LOCKED := $(if $(shell command -v flock 2>/dev/null),flock .venv.lock,)

.DEFAULT_GOAL := help
.PHONY: help venv demo servers test test-all chaos bench dashboards dist lint types constraints clean check-python previews

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(STAMP)  ## set up .venv with dueq and its development tools

$(STAMP): $(INPUTS)
	@$(LOCKED) $(MAKE) --no-print-directory -f Makefile .set-up

# Runs with the lock held. Another make may have finished the work while this one waited, so look again.
.PHONY: .set-up
.set-up:
	@if [ -e $(STAMP) ] && [ -z "$$(find $(INPUTS) -newer $(STAMP))" ]; then exit 0; fi; \
	$(MAKE) --no-print-directory check-python && \
	{ .venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv; } && \
	touch .venv/.started && \
	echo "installing dueq and its development tools into .venv" && \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' && \
	mv .venv/.started $(STAMP)

check-python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found: install Python 3.11 or later (on Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dueq needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1); name another with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv (Debian, Ubuntu), then try again" >&2; exit 1; }

demo: venv  ## replay a real job log of 18,239 jobs in about a minute
	.venv/bin/dueq demo $(ARGS)

servers: venv  ## fetch or build the Redis versions that the tests run on
	.venv/bin/python tests/support/get_servers.py

# pytest's runs of one target, one after the other, each with arguments of its own; that some chose no test is well. What
# waits for real processes runs by itself: beside tests that keep the processors busy, it waits in vain. There is none of it
# in the conformance suite, which takes long to collect.
# Which tests are in which part, and which markers say so, is told in tests/support/parts.py.
RUNS = some= bad=; run() { \
  .venv/bin/python -m pytest "$$@" $(ARGS); case $$? in 0) some=1 ;; 5) ;; *) bad=1 ;; esac; }
GREEN = [ -n "$$some" ] && [ -z "$$bad" ]

test: venv some-servers  ## run the short part of the tests, in some 6 minutes (ARGS="-k name" chooses)
	@$(RUNS); \
	run --part short -m "not processes" --servers all -n 4 --dist worksteal; \
	run --part short -m processes -n 4 --dist worksteal --ignore tests/conformance; \
	$(GREEN)

test-all: venv some-servers  ## run all that 'make test' leaves out, in some 20 minutes (ARGS="--servers redis-5.0.6")
	@$(RUNS); \
	run --part rest -m alone -rP; \
	run --part rest -m "not alone and not processes" --servers all -n 4 --dist worksteal; \
	run --part rest -m "not alone and processes" -n 4 --dist worksteal --ignore tests/conformance; \
	$(GREEN)

.PHONY: some-servers
some-servers: venv
	@$(MAKE) --no-print-directory servers || \
	  echo "going on without the Redis versions said to be missing: their tests are skipped" >&2

# what was cut short, with another status than 0 or 1, does not go into the docs
chaos: venv  ## run every scenario under every strategy, and put the table into docs/chaos.md (about 10 minutes)
	@mkdir -p chaos-report
	.venv/bin/dueq chaos --strategy all --scenario all --jobs 2 --json --report chaos-report $(ARGS) > chaos-report/runs.jsonl; \
	met=$$?; [ $$met -le 1 ] || exit $$met; \
	.venv/bin/python -m dueq.chaos.markdown chaos-report/runs.jsonl docs/chaos.md && exit $$met

bench: venv  ## measure all strategies, and put tables and plots into docs (about 25 minutes; ARGS=--quick: 5)
	@mkdir -p bench-report
	env -u DUEQ_REDIS_URL .venv/bin/dueq bench --strategy all --suite all --json $(ARGS) > bench-report/runs.jsonl; \
	met=$$?; [ $$met -le 1 ] || exit $$met; \
	.venv/bin/python -m dueq.bench.markdown bench-report/runs.jsonl docs/strategies.md docs/bench && exit $$met

dashboards: venv  ## make Grafana's dashboards and Prometheus's recording rules anew, from grafana/boards
	.venv/bin/python grafana/build.py

previews: venv  ## draw what the dashboards show of a real run into docs/previews
	cd tests && ../.venv/bin/python -m grafana.previews ../docs/previews

dist: venv  ## build the source distribution and the wheels, with a server for this platform and without, into dist
	rm -rf dist build
	.venv/bin/python -m build
	rm -rf build
	DUEQ_WITHOUT_SERVER=1 .venv/bin/python -m build --wheel
	rm -rf build

lint: venv  ## check style and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: venv  ## check types, strictly
	.venv/bin/mypy src
	.venv/bin/mypy tests
	.venv/bin/mypy grafana
	.venv/bin/mypy examples

constraints: check-python  ## pin the newest versions that install together
	@set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(PYTHON) -m venv "$$fresh/venv"; \
	"$$fresh/venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	{ echo "# The versions that dueq is developed and tested with. Made by 'make constraints': run that to refresh it,"; \
	  echo "# then 'make test', and commit both. Users are bound only by the ranges in pyproject.toml."; \
	  "$$fresh/venv/bin/python" -m pip freeze --exclude-editable --exclude dueq; } > "$$fresh/constraints.txt"; \
	cat "$$fresh/constraints.txt" > constraints.txt

clean:  ## remove .venv and everything that is made again
	rm -rf .venv .venv.lock .servers
	rm -rf build dist *.egg-info src/*.egg-info src/bundled .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests grafana -name __pycache__ -type d -prune -exec rm -rf {} +
