# `make report`, `make test` and `make docs` set up all they need: a virtual environment in .venv and this package in it.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: report test docs clean

# Steps side by side, one thread each; `make report JOBS=1` gives one step at a time all cores, and the same numbers.
report: .venv/ready
	$(BIN)/metaprobe study raghu2020 --preset quick --jobs $(JOBS) --out runs/raghu2020-glyphs-quick

# One thread a process, as the processes take all cores: libraries of linear algebra would fight for them.
test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright -p .ci/src --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal

# Warnings are errors: a link that leads nowhere, a page that nothing leads to.
docs: .venv/ready
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo docs/_build/html/index.html

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metaprobe needs Python 3.11 or newer; set PYTHON=…")'
	@test -d .ci/src/metaprobe/trainers || { echo "this checkout has no symbolic links: git config core.symlinks true && git checkout -- .ci/src"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs $(addprefix docs/,_build measures algorithms update_rules commands api gallery)
