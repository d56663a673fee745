# make demo    what ormcache does, shown on a small site; needs nothing but Python
# make quick   what to run after every change: unit tests, and all on SQLite and the embedded store
# make test    all tests, on all engines and stores, on the oldest and the newest Python and Django
# make lint    style, types, and the security of the workflow
# make docs    the documentation as a site, in build/docs
# make bench   ormcache beside plain Django and other caches; about an hour, with ARGS=--quick three minutes
# make dist    the distributions, ormcache and ormcache-core, in dist
# make clean   remove what the above have made
#
# make test ARGS="-k stamps -x"    what is in ARGS goes to pytest
# make test-on PYTHON_VERSION=3.12 DJANGO_VERSION=6.0 PARTS="unit mysql"    parts of the tests, on these versions alone

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-on lint format docs dist servers bench bench-quick clean
.DELETE_ON_ERROR:

OLDEST_PYTHON := python3.11 python3 python3.12 python3.13 python3.14
NEWEST_PYTHON := python3.15 python3.14 python3.13 python3.12

# The first of these names that works and is Python 3.11 or later. (One of pyenv's may be on PATH and yet not work.)
find_python = $(shell for name in $(1); do for python in $$name "$$HOME"/.pyenv/versions/*/bin/$$name; do \
	if "$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	command -v "$$python"; exit; fi; done; done)

PYTHON ?= $(or $(call find_python,$(OLDEST_PYTHON)),$(error ormcache needs Python 3.11 or later with its venv module))
PYTHON_NEWEST ?= $(call find_python,$(NEWEST_PYTHON))

# Before 3.11.5 Python's regular expressions have a fault that the lexer has to live with; Debian 12 has such a one.
EARLY_PYTHON ?= $(shell for python in /usr/bin/python3 python3.11 python3; do \
	if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 11, 5))' 2>/dev/null; then \
	command -v "$$python"; exit; fi; done)

PARTS ?= unit project packaging browser sqlite postgresql mysql

VENV := .venv
VENV_NEWEST := .venv-newest
VENV_EARLY := .venv-early
DEMO_VENV := .venv-demo
BENCH_VENV := .venv-bench
DOCS_VENV := .venv-docs
VENV_ON := .venv-on-$(PYTHON_VERSION)-$(DJANGO_VERSION)

# The newest Django that both this Python and this test run are for. Django 6.0 and later need Python 3.12.
DJANGO := Django>=5.2,<5.3
DJANGO_NEWEST := Django>=6.1

GROUPS := --group test --group servers

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/q'

demo: $(DEMO_VENV)/.installed
	@$(DEMO_VENV)/bin/python -B docs/demo/run.py

quick: $(VENV)/.installed
	@$(VENV)/bin/python tests/run.py --quick --pythons $(VENV)/bin/python -- $(ARGS)

test: $(VENV)/.installed $(if $(PYTHON_NEWEST),$(VENV_NEWEST)/.installed) \
	$(if $(EARLY_PYTHON),$(VENV_EARLY)/.installed) servers
ifeq ($(PYTHON_NEWEST),)
	@echo "##### NO PYTHON 3.12 OR LATER HERE: the newest Django is NOT tested" >&2
	@test -z "$$CI"
endif
ifeq ($(EARLY_PYTHON),)
	@echo "##### NO PYTHON FROM 3.11.0 TO 3.11.4 HERE: its regular expressions are NOT tested" >&2
endif
	@$(VENV)/bin/python tests/run.py --coverage --parts $(PARTS) $(if $(EARLY_PYTHON),--early $(VENV_EARLY)/bin/python) \
		--pythons $(VENV)/bin/python $(if $(PYTHON_NEWEST),$(VENV_NEWEST)/bin/python) -- $(ARGS)

test-on: $(VENV_ON)/.installed
	@$(VENV_ON)/bin/python -m tests.servers --install
	@$(VENV_ON)/bin/python tests/run.py --parts $(PARTS) --pythons $(VENV_ON)/bin/python -- $(ARGS)

servers: $(VENV)/.installed
	@$(VENV)/bin/python -m tests.servers --install

lint: $(VENV)/.linters
	@status=0; \
	$(VENV)/bin/ruff check || status=1; \
	$(VENV)/bin/ruff format --check || status=1; \
	$(VENV)/bin/mypy || status=1; \
	$(VENV)/bin/zizmor --quiet --offline .github || status=1; \
	exit $$status

format: $(VENV)/.linters
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(DOCS_VENV)/.installed
	@$(DOCS_VENV)/bin/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo "build/docs/index.html"

dist: $(VENV)/.installed
	rm -rf dist
	@$(VENV)/bin/python .ci/distributions.py dist
	@$(VENV)/bin/python -m twine check --strict dist/*

bench: $(BENCH_VENV)/.installed
	@$(BENCH_VENV)/bin/python -m benchmarks.servers --install
	@$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

bench-quick:
	@$(MAKE) --no-print-directory bench ARGS="--quick $(ARGS)"

clean:
	rm -rf $(VENV) $(VENV_NEWEST) $(VENV_EARLY) .venv-on-* $(DEMO_VENV) $(BENCH_VENV) $(DOCS_VENV)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

# Each environment is made once and again whenever pyproject.toml changes. Dependency groups need pip 25.1.

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)/bin/python -m pip install --quiet --editable . "$(DJANGO)" $(GROUPS)
	@touch $@

$(VENV)/.linters: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --editable . "$(DJANGO)" --group lint
	@touch $@

$(VENV_NEWEST)/.installed: pyproject.toml
	$(PYTHON_NEWEST) -m venv --clear $(VENV_NEWEST)
	$(VENV_NEWEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV_NEWEST)/bin/python -m pip install --quiet --editable . "$(DJANGO_NEWEST)" $(GROUPS)
	@touch $@

# A distribution's Python may lack venv and pip.
$(VENV_EARLY)/.installed: pyproject.toml | $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet "virtualenv>=21.15"
	$(VENV)/bin/python -m virtualenv --quiet --clear --no-venv-redirect --python $(EARLY_PYTHON) $(VENV_EARLY)
	$(VENV_EARLY)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV_EARLY)/bin/python -m pip install --quiet --editable . "$(DJANGO)" $(GROUPS)
	@touch $@

$(VENV_ON)/.installed: pyproject.toml
	@test -n "$(PYTHON_VERSION)" -a -n "$(DJANGO_VERSION)" || { echo "which PYTHON_VERSION and DJANGO_VERSION?" >&2; exit 2; }
	$(or $(call find_python,python$(PYTHON_VERSION)),$(error no Python "$(PYTHON_VERSION)" here)) -m venv --clear $(VENV_ON)
	$(VENV_ON)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV_ON)/bin/python -m pip install --quiet --editable . "Django==$(DJANGO_VERSION).*" $(GROUPS)
	@touch $@

$(DEMO_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DEMO_VENV)/bin/python -m pip install --quiet --editable . --group demo
	@touch $@

$(DOCS_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DOCS_VENV)/bin/python -m pip install --quiet --editable . "$(DJANGO)" --group docs
	@touch $@

$(BENCH_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable . "$(DJANGO)" --group bench --group servers
	@$(BENCH_VENV)/bin/python -m pip install --quiet "$(DJANGO)" --group bench-peers \
		|| echo "##### OTHER CACHES CANNOT BE INSTALLED HERE: they are left out" >&2
	@touch $@
