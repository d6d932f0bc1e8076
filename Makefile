# `make help` lists what there is. Everything runs in the project's own .venv, which is made when it is
# first needed; an active virtual environment is neither used nor changed.
#
#     make test ARGS="-k fallback -x"      arguments for the tool
#     make test JOBS=0                     in one process, not in two side by side
#     make core VERSION=3.12               another CPython, in .venv-3.12
#     make test PYTHON=/path/to/python3    the Python that .venv is made with

VERSION =
ARGS =
JOBS = 2
VENV = .venv$(addprefix -,$(VERSION))
PY = $(VENV)/bin/python

unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK = 1
PIP_INSTALL = $(PY) -m pip install --quiet
SIDE_BY_SIDE = -n $(JOBS) --dist loadfile

.PHONY: help demo test coverage core slow chaos check format bench bench-redis policies docs mutate wheel-test clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.ready ## a media gateway under circuit breakers, live, in half a minute
	@$(PY) -m circuitry demo $(ARGS)

test: $(VENV)/.ready-test ## all tests
	$(PY) $(if $(COVERAGE),-m coverage run )-m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

coverage: $(VENV)/.ready-test ## all tests; fails where a line or branch of circuitry is not covered
	@$(PY) -m coverage erase
	$(MAKE) test COVERAGE=1
	@$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

core: $(VENV)/.ready-test ## the core of the tests; VERSION=3.12 for another CPython
	$(PY) -m pytest $(SIDE_BY_SIDE) -m core $(ARGS)

slow: $(VENV)/.ready-test ## the tests that `make test` leaves out
	$(PY) -m pytest -m slow $(ARGS)

chaos: $(VENV)/.ready-test ## a fleet under chaos: 20 seeds, each checked by its history; ARGS="--seed 7" for one
	$(if $(ARGS),,$(PY) -m pytest -m slow tests/chaos)
	$(PY) -m tests.chaos $(ARGS)

check: $(VENV)/.ready-lint ## lint, format and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m pyright --warnings
	$(PY) -m pytest --quiet tests/typecheck

format: $(VENV)/.ready-lint ## puts the code in form
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(VENV)/.ready-bench ## measures circuitry against its yardsticks and peers
	$(PY) -m benchmarks $(ARGS)

bench-redis: $(VENV)/.ready-bench ## measures a shared circuit against peers, on a real server; ARGS=--quick
	$(PY) -m benchmarks.redis $(ARGS)

policies: $(VENV)/.ready ## simulates which policy suits which trouble; ARGS="--only outage --seeds 20"
	@$(PY) -m benchmarks.policies $(ARGS)

docs: $(VENV)/.ready-docs $(VENV)/.ready-test ## builds docs/ into site/, and tests it
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	$(PY) -m pytest --quiet tests/docs/test_site.py

mutate: $(VENV)/.ready-mutate ## mutates machine.py and windows.py; no mutant should survive
	rm -rf mutants
	$(PY) -m mutmut run
	$(PY) -m mutmut results

wheel-test: $(VENV)/.ready ## builds the wheel and runs the core of the tests on what is in it
	rm -rf build/wheel && mkdir -p build/wheel/elsewhere
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(PY) -m venv build/wheel/venv
	$(PY) -m pip --python build/wheel/venv install --quiet build/wheel/*.whl --group test
	cp -r tests README.md docs pyproject.toml build/wheel/elsewhere
	cd build/wheel/elsewhere && ../venv/bin/python -m pytest $(SIDE_BY_SIDE) -m core $(ARGS)

clean: ## removes everything that make made
	rm -rf .venv .venv-* build dist site mutants .coverage .coverage.* .hypothesis .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# What is installed: .ready is the package alone, with what its demo likes; .ready-X adds the dependency group X.
$(VENV)/.ready: pyproject.toml
	@python=$$(tools/python $(VERSION)) && echo "setting up $(VENV) with $$($$python --version)" >&2 && $$python -m venv $(VENV)
	@$(PIP_INSTALL) --upgrade "pip>=25.1"
	@$(PIP_INSTALL) --editable ".[demo]"
	@touch $@

$(VENV)/.ready-%: $(VENV)/.ready
	@echo "installing what 'make $@' needs" >&2
	@$(PIP_INSTALL) --group $*
	@touch $@
