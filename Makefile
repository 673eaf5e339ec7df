# Every target sets up what it needs. The first two are all that a newcomer types: make demo, make test.
PYTHON ?= python3
export PYTHON
VENV := .venv/bin

.PHONY: demo test check lint setup docs audit release deb bench screenshots test-device test-training clean help

demo: ## Replay a film of a real face and watch its percentages arrive on an MQTT topic
	@scripts/setup demo
	@$(VENV)/edge-agent demo

test: ## Lint and test (mosquitto, Chromium and the rest come by apt where that is allowed)
	@scripts/setup test
	@scripts/test-tools
	@$(MAKE) --no-print-directory lint
	$(VENV)/python -m pytest -n 4 --dist loadscope -m "not device and not training" $(PYTEST_ARGS)

check: ## Lint and the tests that need no broker, browser or child process: under a minute
	@scripts/setup test
	@$(MAKE) --no-print-directory lint
	$(VENV)/python -m pytest -n 2 --dist loadscope -q -m "not outside and not device and not training" $(PYTEST_ARGS)

test-device: ## Boot a real systemd, emulate ARM, replay 100,000 frames, kill the agent 500 times, ask a real Home Assistant and other brokers (root, Debian; an hour and a half)
	@scripts/setup test
	@scripts/test-tools
	@scripts/need systemd-nspawn systemd-container
	@scripts/need mmdebstrap mmdebstrap
	@scripts/need dpkg-deb dpkg
	@scripts/need nats-server nats-server
	@scripts/need rabbitmq-server rabbitmq-server
	@scripts/need npm npm
	$(VENV)/python -m pytest -m device -o log_cli=true --log-cli-level=INFO --durations=0 $(PYTEST_ARGS)

screenshots: ## Take the pictures of the page in docs/figures again
	@scripts/setup test
	@scripts/need chromium chromium fonts-dejavu-core
	$(VENV)/python -m benchmarks.screenshots

lint: ## Style, types and the order of imports
	@scripts/setup test
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-cache

test-training: ## The tests that train: a run killed and resumed, searched, converted, explained (TensorFlow and PostgreSQL)
	@scripts/setup test,tune,explain
	@-scripts/need pg_ctlcluster postgresql
	$(VENV)/python -m pytest -m training $(PYTEST_ARGS)

bench: ## Speed against the package fer, footprint, and this machine's milliseconds for each stage
	@scripts/setup test
	$(VENV)/python -m benchmarks.versus_fer
	$(VENV)/python -m benchmarks.footprint
	$(VENV)/edge-agent bench

docs: ## Build the searchable site of docs/ into build/site; a dead link is an error
	@scripts/setup docs
	$(VENV)/mkdocs build

audit: ## Look the installed packages up in the advisories; says where that service cannot be reached
	@scripts/setup test
	$(VENV)/python -m scripts.audit

release: ## Build and check the wheel and the source package into dist/, twice, and compare
	@scripts/setup release
	$(VENV)/python -m scripts.release

deb: ## Build the Debian packages into dist/: Debian 12 and 13, ARM and x86-64, on either machine
	@scripts/setup release
	@scripts/need dpkg-deb dpkg
	$(VENV)/python -m scripts.deb

setup: ## Make .venv with the agent alone
	@scripts/setup ""

clean: ## Remove what the other targets made
	rm -rf .venv .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

help: ## List these targets
	@sed -nE 's/^([a-z-]+): ## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
