# Needs Python 3.11 or later and make; everything else goes into .venv. `make` alone lists the targets.

PYTHON ?= python3
ARGS ?=
FROM ?=
# Test files at a time; each may start Ray clusters. Three on two cores were only a twelfth quicker.
JOBS ?= 2
# Debian packages without which some tests cannot run.
TEST_PACKAGES ?= chromium iproute2 openssh-client openssh-server postgresql rsync tmux

# Take minutes, root, and an SSH server's program.
ON_HOSTS := $(wildcard tests/cluster/test_ssh*.py)
# Clusters of several nodes that come and go, and jobs: minutes.
# Files of tests/core that take long; `make test-fast` leaves them out.
LONG := checkpoint hostile_data pairs precision probe properties ranks ticks update
ON_NODES := tests/cluster/test_elastic.py tests/cluster/test_job_submit.py
# Fills a store of 500 trials, and times.
BY_HAND := tests/browser/test_many.py
# Benchmarks are no tests, but must run.
OF_BENCHMARKS := tests/test_benchmarks.py
# requirements.txt is what runs here; the others, what a cluster's nodes and the tracking server need beside it.
PINS := requirements.txt cluster/requirements.txt cluster/mlflow/requirements.txt
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: test-fast help .venv mnist mnist-long data test test-cluster test-nodes test-many test-benchmarks fuzz pictures lint types format test-deps wheel cluster.yaml bench-metrics bench-fooled bench-step bench-fused bench-sweep bench-stacked clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  Options go in ARGS, for example: make mnist ARGS='--trials 8'"

.venv: $(STAMP) ## set up .venv: the pinned packages and this project, editable
	@:

# The stamp is written last, so an interrupted set-up is taken up again and a finished one is not repeated.
$(STAMP): $(PINS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "error: Python 3.11 or later is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	         "name another: make PYTHON=python3.11 .venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo "error: $(PYTHON) has no venv or ensurepip; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "Installing the packages of $(PINS) into .venv (minutes; torch is the largest)"
	@$(PIP) install $(addprefix -r ,$(PINS))
	@echo "Installing this project into .venv, editable"
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

mnist: $(STAMP) ## a small sweep on MNIST
	$(BIN)/python sweeps/mnist.py $(ARGS)

mnist-long: $(STAMP) ## 40 trials of 45000 critic updates on MNIST
	$(BIN)/python sweeps/mnist.py --name mnist-long --trials 40 --budget 45000 $(ARGS)

data: $(STAMP) ## fetch MNIST ahead of the first sweep
	$(BIN)/python -m wgan_core.data.mnist $(ARGS)

test: lint types ## lint, types and all tests but those of the targets below; ARGS go to pytest
	$(BIN)/python -m pytest $(addprefix --ignore=,$(ON_HOSTS) $(ON_NODES) $(BY_HAND) $(OF_BENCHMARKS)) -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=10 $(ARGS)

test-fast: lint types ## what to run while you edit: lint, types, and the quick tests of wgan_core; under two minutes
	$(BIN)/python -m pytest tests/core tests/test_layout.py tests/test_docs.py \
	    $(foreach name,$(LONG),--ignore=tests/core/test_$(name).py) -n $(JOBS) --dist loadfile $(ARGS)

test-cluster: $(STAMP) ## cluster/ssh.yaml on three hosts made of namespaces: needs root, and CONTRIBUTING.md says what else
	REQUIRE_ALL=1 $(BIN)/python -m pytest $(ON_HOSTS) $(ARGS)

test-nodes: $(STAMP) ## nodes that join, are drained and come by themselves, and jobs; minutes
	REQUIRE_ALL=1 $(BIN)/python -m pytest $(ON_NODES) $(ARGS)

test-many: $(STAMP) ## the first screen of 500 trials in MLflow, timed; minutes
	REQUIRE_ALL=1 $(BIN)/python -m pytest $(BY_HAND) $(ARGS)

test-benchmarks: $(STAMP) ## that the benchmarks run and are whole; minutes
	REQUIRE_ALL=1 $(BIN)/python -m pytest $(OF_BENCHMARKS) $(ARGS)

fuzz: $(STAMP) ## thousands of bad inputs, each in a process under limits; half an hour
	$(BIN)/python -m tests.fuzz $(ARGS)

pictures: $(STAMP) ## docs/ pictures of a sweep in the storage: its live view if it runs, else MLflow and its report
	$(BIN)/python docs/pictures.py $(ARGS)

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

format: $(STAMP) ## let ruff format the code and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-deps: ## install the system packages that some tests need, where that is allowed
	@missing=""; \
	for package in $(TEST_PACKAGES); do \
	    dpkg-query -W -f='$${Status}' "$$package" 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then echo "test-deps: nothing to install"; exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	    echo "test-deps: no apt-get here; not installed:$$missing; the tests that need them are skipped"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; \
	elif sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	else echo "test-deps: neither root nor sudo without a password; not installed:$$missing;" \
	          "the tests that need them are skipped"; exit 0; fi; \
	echo "test-deps: installing$$missing"; \
	$$sudo apt-get update -qq || echo "test-deps: the package lists could not be renewed; trying with those there are"; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing </dev/null >/dev/null

# build/ is removed first: setuptools would pack files there that have since left the source.
wheel: $(STAMP) ## build dist/*.whl
	@rm -rf build dist
	@echo "Building the wheel into dist"
	@$(PIP) wheel --no-deps --no-build-isolation -w dist .
	@ls dist/*.whl

# Phony, so that a file that is there is refused rather than taken for up to date.
cluster.yaml: ## a cluster's file from cluster/FROM.yaml, with what is to be filled in
	@if [ ! -f "cluster/$(FROM).yaml" ]; then \
	    echo "error: FROM must name a template, one of $$(cd cluster && ls *.yaml | sed 's/.yaml$$//' | xargs);" \
	         "given '$(FROM)': make cluster.yaml FROM=ssh" >&2; exit 2; fi
	@if [ -e cluster.yaml ]; then \
	    echo "error: cluster.yaml is there already, and is not overwritten: move it away first" >&2; exit 2; fi
	@cp "cluster/$(FROM).yaml" cluster.yaml
	@echo "cluster.yaml is a copy of cluster/$(FROM).yaml; fill in, by line:"
	@grep -n FILL_IN cluster.yaml | grep -v '^[0-9]*: *#'
	@echo "then: .venv/bin/sweeps check-cluster cluster.yaml; docs/cluster.md says what comes next"

bench-fused: $(STAMP) ## time many trials on one device, against the textbook loop, processes and fused modules
	$(BIN)/python benchmarks/fused_trials.py $(ARGS)

bench-fooled: $(STAMP) ## score real images that fool FID, and compare standard errors with repeated draws
	$(BIN)/python benchmarks/fooled.py $(ARGS)

bench-metrics: $(STAMP) ## count how often each metric orders damaged samples rightly, and time it
	$(BIN)/python benchmarks/metrics.py $(ARGS)

bench-stacked: $(STAMP) ## train on StackedMNIST, and count modes and KL beside published figures
	$(BIN)/python benchmarks/stacked_mnist.py $(ARGS)

bench-step: $(STAMP) ## time one training step, lanes against the textbook loop
	$(BIN)/python benchmarks/step.py $(ARGS)

bench-sweep: $(STAMP) ## time a whole sweep
	$(BIN)/python benchmarks/sweep.py $(ARGS)

clean: ## remove .venv and everything that is built or cached; data and sweeps stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
