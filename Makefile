# Everything a developer does. `make` alone lists the targets.
#
# All of it happens in a virtual environment of the checkout's own (.venv, or VENV=…), made when it is first needed, into which
# the package is installed editable with its tools: your own environment is neither used nor changed.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# tests/fuzz and the harness of tests/faults have targets of their own
GROUPS := $(filter-out faults fuzz,$(notdir $(patsubst %/,%,$(wildcard tests/*/))))
SOURCES := setup.py service native tests bench examples
export PATH := $(abspath $(RUN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help venv build lint test test-as-nobody $(GROUPS) asan faults reverts fuzz bench bench-meter bench-tools proto-snapshot sdist clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26
	@echo "  make GROUP              run one group of tests: $(GROUPS)"
	@echo "  PYTHON=python3.12 chooses the Python of a new environment, VENV=DIR its place, REQUIRE_ALL=1 makes skipped tests failures."

venv: $(INSTALLED) ## make the environment with the package and all tools in it

$(INSTALLED): pyproject.toml
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,gpu]'
	@touch $@

build: $(INSTALLED) ## build what is stale: protobuf modules, native extensions, the shim
	@$(RUN)/python setup.py --quiet build_inplace

test: build ## run all tests, by group, with their budgets; lists what was skipped
	@$(RUN)/python tests/run.py

test-as-nobody: build ## run them as an ordinary user without cgroups; for root
	@$(RUN)/python tests/run.py --as-nobody

$(GROUPS): build
	@$(RUN)/python tests/run.py $@

asan: build ## run the native tests on extensions built with the address and undefined-behaviour sanitizers
	@$(RUN)/python tests/sanitize.py asan $(ARGS)

faults: build ## run the fault harness at full size, print and keep its table; ARGS='kills --seed 1 --count 100', --list, --resume
	@$(RUN)/python -m tests.faults $(ARGS)

reverts: build ## take each guarantee's mechanism away in a copy, and expect its test to fail; ARGS=G3 for some
	@$(RUN)/python -m tests.faults.reverts $(ARGS)

fuzz: build ## fuzz the native parsers for FUZZ_SECONDS=60; ARGS='TARGET FILE' repeats one input
	@$(RUN)/python tests/sanitize.py fuzz $(ARGS)

define LINTERS
ruff check .
ruff format --check .
mypy $(SOURCES)
lint-imports
buf lint protos
buf format --diff --exit-code protos
buf breaking protos --against protos/releases/v1.txtpb
cython-lint native bench
stubtest metercore --mypy-config-file pyproject.toml --allowlist native/stubtest.allow --ignore-disjoint-bases
endef
export LINTERS

lint: build ## check style, types, import contracts, protos and native code
	@status=0; echo "$$LINTERS" | { while read -r each; do echo "── $$each"; MYPYPATH=service:native $$each || status=1; done; exit $$status; }

bench: build ## run the benchmarks; writes bench/results/report.html and report.md; ARGS=--quick, ARGS='unary fanout'
	@$(RUN)/python bench/run.py $(ARGS)

bench-meter: build ## run only what compares the metering core; its plots too are in bench/results/
	@$(RUN)/python bench/run.py meter

bench-tools: ## install the programs that the benchmarks compare with; for root on Debian
	@bench/tools.sh

proto-snapshot: $(INSTALLED) ## take today's contract as the one that must not break
	$(RUN)/buf build protos --exclude-source-info --output protos/releases/v1.txtpb

sdist: $(INSTALLED) ## build the source distribution, and the wheel from it, into dist/
	$(RUN)/python -m build

clean: ## remove all that was built, the environment too
	rm -rf build dist $(VENV) service/*.egg-info *.egg-info
	rm -f service/taskmeter/v1/*_pb2* service/taskmeter/executors/taskmeter-shim
	find native \( -name '*.so' -o -name '*.html' \) -delete
	find . -name __pycache__ -prune -exec rm -rf {} +
