# haiku-edge: everything that is done with this repository. `make` alone lists it.
#
#   PYTHON=python3.12 make test     another interpreter (3.11 or later)
#   make predict SLIDE=case.svs NOTES=notes.json OUT=results ARGS="--device cpu"

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
LEAN := .venv-lean
BUILD := .venv-build
WHEELHOUSE ?= wheelhouse
OUT ?= results
SEED ?= 7
export SLIDE NOTES OUT

CODE := runtime export cli engines tests benchmarks docs/guides
# What goes into the wheel; a change in it makes the lean environment stale.
SOURCES = $(shell find runtime export cli engines -type f -not -path '*/__pycache__/*' -not -name '* *')
# setuptools never removes a deleted module from build/lib, which would then be packed again.
CLEAN_BUILD := rm -rf build/lib build/bdist.* *.egg-info
# Two gigabytes each, so not as many as there are cores; a module's tests share what they made.
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile
# Without it hnswlib is tuned to the building machine, and crashes on an older processor.
PORTABLE := HNSWLIB_NO_NATIVE=1

.PHONY: help
help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

# --- environments -----------------------------------------------------------------------------------------------------

define new_venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "haiku-edge needs Python 3.11 or later")'
test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

# torch comes first and pinned: this version resolves to a CPU build, so that no CUDA packages come with it.
$(VENV)/.installed: pyproject.toml
	@$(call new_venv,$(VENV))
	$(PORTABLE) $(VENV)/bin/pip install --quiet torch==2.13.0
	$(PORTABLE) $(VENV)/bin/pip install --quiet -e ".[export,dev]"
	@touch $@

$(LEAN)/.installed: pyproject.toml $(SOURCES)
	@$(call new_venv,$(LEAN))
	@$(CLEAN_BUILD)
	$(PORTABLE) $(LEAN)/bin/pip install --quiet .
	@touch $@

.PHONY: install
install: $(VENV)/.installed ## Make the developers' environment in .venv

# --- checks -----------------------------------------------------------------------------------------------------------

.PHONY: test
test: $(VENV)/.installed ## Install what is needed, and pass the tests
	$(VENV)/bin/python -m pytest $(AT_ONCE)

.PHONY: test-slow
test-slow: $(VENV)/.installed ## Pass the tests that take minutes: wheelhouse, quick bundle, whole slides
	$(VENV)/bin/python -m pytest -m slow

# mypy reads an installed copy, since the folders become packages only by installation.
.PHONY: check
check: $(VENV)/.installed ## Lint, format, strict types over the installed package, import rule
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)
	@$(CLEAN_BUILD); rm -rf build/typecheck
	$(VENV)/bin/pip install --quiet --no-deps --target build/typecheck .
	MYPYPATH=build/typecheck $(VENV)/bin/mypy -p haiku_edge.runtime -p haiku_edge.export -p haiku_edge.cli
	$(VENV)/bin/python -m pytest tests/packaging/test_imports.py

.PHONY: bench
bench: $(VENV)/.installed ## Measure; docs/performance.md tells what the figures mean
	@for benchmark in benchmarks/*.py; do \
	  if grep -q '__main__' $$benchmark && [ $$benchmark != benchmarks/engines.py ]; then echo "== $$benchmark"; $(VENV)/bin/python $$benchmark; fi; \
	done

.PHONY: bench-engines
bench-engines: $(VENV)/.installed ## Measure every engine of the processor beside PyTorch (ARGS=--quick: a moment)
	$(VENV)/bin/python benchmarks/engines.py $(ARGS)

# --- products ---------------------------------------------------------------------------------------------------------

.PHONY: bundle
bundle: $(VENV)/.installed ## Remake the embedded bundle from nothing (under an hour on 2 cores)
	$(VENV)/bin/python -m haiku_edge.export.embedded --out engines/embedded --seed $(SEED)

.PHONY: bundle-spade
bundle-spade: $(VENV)/.installed ## Remake the embedded SPADE bundle: spots, experts, baselines (an hour on 2 cores)
	$(VENV)/bin/python -m haiku_edge.export.embedded_spade --host engines/embedded --out engines/embedded_spade --seed $(SEED)

demo/demo.svs: | $(LEAN)/.installed
	$(LEAN)/bin/haiku-edge demo --out demo --only-slide

.PHONY: predict
ifeq ($(strip $(SLIDE)),)
predict: $(LEAN)/.installed demo/demo.svs ## Predict on a demonstration slide, or on SLIDE=... NOTES=...
	$(LEAN)/bin/haiku-edge predict demo/demo.svs --clinical demo/notes.json --out "$$OUT" --force $(ARGS)
else
predict: $(LEAN)/.installed
	$(LEAN)/bin/haiku-edge predict "$$SLIDE" $${NOTES:+--clinical "$$NOTES"} --out "$$OUT" $(ARGS)
endif

# hnswlib has no wheel of its own: it is built here, once, portably, and never taken from pip's cache.
.PHONY: wheelhouse
wheelhouse: ## Collect all that a machine without network and compiler needs
	@$(call new_venv,$(BUILD))
	@$(CLEAN_BUILD); rm -rf "$(WHEELHOUSE)" build/hnswlib
	@mkdir -p "$(WHEELHOUSE)"
	$(PORTABLE) $(BUILD)/bin/pip wheel --quiet --no-cache-dir --no-deps --no-binary hnswlib --wheel-dir build/hnswlib hnswlib==0.8.0
	$(BUILD)/bin/pip wheel --quiet --wheel-dir "$(WHEELHOUSE)" build/hnswlib/*.whl .
	@cd "$(WHEELHOUSE)" && LC_ALL=C sha256sum -- *.whl > sha256sums
	@echo "$(WHEELHOUSE): $$(ls "$(WHEELHOUSE)"/*.whl | wc -l) wheels, $$(du -sm "$(WHEELHOUSE)" | cut -f1) MB," \
	  "for $$($(BUILD)/bin/python -c 'import platform, sys; print("Python %d.%d on" % sys.version_info[:2], platform.platform())')"

.PHONY: size
size: ## Measure the lean installation in a fresh environment
	@rm -rf build/size; mkdir -p build
	@$(call new_venv,build/size)
	@$(CLEAN_BUILD)
	@before=$$(du -sm build/size/lib | cut -f1); \
	$(PORTABLE) build/size/bin/pip install --quiet .; \
	after=$$(du -sm build/size/lib | cut -f1); \
	echo "lean installation: $$after MB in site-packages, of which $$before MB are pip's own; $$(du -sm build/size | cut -f1) MB in all"; \
	du -sm build/size/lib/python*/site-packages/* | sort -rn | sed -n 1,8p
	@rm -rf build/size

.PHONY: clean
clean: ## Remove environments, builds, caches and demonstration results
	rm -rf $(VENV) $(LEAN) $(BUILD) build dist wheelhouse *.egg-info demo results .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
