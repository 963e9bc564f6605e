# `make demo` and `make test` install everything they need, and can be repeated at any time.
# The environment is outside the clone and named after a hash of the requirements, so that clones share it. It is separate from
# mien's own cache folder, which users may delete.

PYTHON ?= python3
KEY := $(shell $(PYTHON) -c "import hashlib, pathlib, sys; print(hashlib.sha256(sys.version.encode() + b''.join(pathlib.Path(p).read_bytes() for p in ('constraints.txt', 'pyproject.toml'))).hexdigest()[:12])")
VENV ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mien-development/venv-$(KEY)
BIN := $(VENV)/bin
JOBS ?= 2

# start-up time is measured with compiled bytecode
unexport PYTHONDONTWRITEBYTECODE
# tests run in JOBS processes, each with one thread
test: export OMP_NUM_THREADS = 1

.PHONY: demo test slow docs setup format clean

demo: setup
	$(BIN)/mien demo --out demo

test: setup
	@echo "== format and lint"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@echo "== types"
	$(BIN)/mypy
	@echo "== import contract"
	$(BIN)/lint-imports
	@echo "== tests"
	$(BIN)/pytest -n $(JOBS) --durations=5

slow: setup
	@echo "== slow tests"
	$(BIN)/pytest -m slow

# the tutorials run once for each state of the sources, and what they print is kept in build/tutorials
docs: export MIEN_TUTORIALS = run
docs: export NO_MKDOCS_2_WARNING = 1
docs: setup
	$(BIN)/python -m mkdocs build --strict
	@echo "open site/index.html in a browser"

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/installed
	@[ "$$(cat $(VENV)/source 2>/dev/null)" = "$(CURDIR)" ] || { \
		echo "== pointing $(VENV) at this clone"; \
		$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e . && echo "$(CURDIR)" > $(VENV)/source; }

$(VENV)/installed:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'mien needs Python 3.11 or newer; for example: make PYTHON=python3.12 ...')"
	@echo "== installing into $(VENV) (a few minutes the first time)"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt hatchling editables
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	echo "$(CURDIR)" > $(VENV)/source
	touch $@

clean:
	rm -rf $(VENV) demo site build
