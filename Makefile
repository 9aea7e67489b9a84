# `make` lists the commands. Each of them sets up .venv by itself when it is missing or out of date.

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell $(name) -c 'print("$(name)")' 2>/dev/null)) python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BOOK := $(BIN)/jupyter-book build -W --keep-going
# Seconds that a cell may take; most take a few, on a slow and busy machine some took 600.
PATIENCE := 3600
# Strict nbval: every cell runs, and every text output must be the stored one.
NBVAL := notebooks --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg \
	--nbval-cell-timeout=$(PATIENCE)
# Of benchmarks/ all but what the others import.
BENCHMARKS = $(filter-out %/common.py %/plain.py,$(wildcard benchmarks/*.py))

# The kernel of .venv, not one of the same name in the reader's home.
export JUPYTER_PREFER_ENV_PATH := 1
# matplotlib's font cache and settings: the same for everybody, whatever is in the home.
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib

# Beside other work, threads that spin while they wait for each other take the time of those that they wait for.
# So they soon sleep, unless the environment says how they are to wait. The command `repro` does the same.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 10000
endif

.PHONY: help book preview links lab test nbval smoke bench lint format notebooks address clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

book: $(READY)  ## execute the chapters and build the book into _build/html
	@rm -rf _build/html/reports
	@$(BOOK) --all . || { $(BIN)/python book/failed_chapters.py; exit 1; }
	@echo "The book is _build/html/index.html"

preview: $(READY) .preview.yml  ## build the book from the outputs stored in the notebooks
	$(BOOK) --config .preview.yml .
	@echo "The book is _build/html/index.html"

links: $(READY) .preview.yml  ## follow every external link of the book
	$(BOOK) --config .preview.yml --builder linkcheck .

lab: $(READY)  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab notebooks

test: $(READY)  ## run the tests, then every notebook against its stored outputs
	$(BIN)/python -m pytest tests $(NBVAL)

# INSTRUCTIONS=avx2 makes an x86 processor pass for one that has no more; WORKERS=n runs n notebooks at a time.
nbval: $(READY)  ## run the notebooks only; THREADS=n and INSTRUCTIONS=avx2 make it a smaller machine
	$(if $(THREADS),OMP_NUM_THREADS=$(THREADS)) \
	$(if $(filter avx2,$(INSTRUCTIONS)),ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2) \
	$(BIN)/python -m pytest $(NBVAL) $(if $(WORKERS),-n $(WORKERS) --dist loadfile)

smoke: $(READY)  ## reproduce every result at the smallest scale, with pocket, into _build/smoke
	$(BIN)/repro reproduce all --scale smoke --loss-network pocket --overwrite -o _build/smoke

lint: $(READY)  ## check style, spelling and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

bench: $(READY)  ## time training and optimization beside plain loops, and Adam beside Muon, into _build/bench
	for script in $(BENCHMARKS); do \
		$(BIN)/python $$script -o _build/bench/$$(basename $$script .py).json || exit 1; done

format: $(READY)  ## put the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(READY)  ## execute the notebooks and store their outputs in place
	$(BIN)/python book/setup_cell.py notebooks/*.ipynb
	$(BIN)/jupyter-nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.kernel_name=python3 --ExecutePreprocessor.record_timing=False \
		--ExecutePreprocessor.timeout=$(PATIENCE) notebooks/*.ipynb

address: $(READY)  ## write where the project lives into its files; URL=https://github.com/OWNER/NAME, or none
	$(BIN)/python tools/address.py $(URL)

clean:  ## remove everything that was built, except .venv
	rm -rf _build .preview.yml .pytest_cache .mypy_cache .ruff_cache .hypothesis book/_static/mathjax
	find src tests book notebooks -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# The same book without running anything. It stays beside _config.yml because paths in it are relative.
.preview.yml: _config.yml
	sed "s/execute_notebooks: .*/execute_notebooks: 'off'/" _config.yml > $@

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
		echo "The pinned packages are for Python 3.11 to 3.14, but '$(PYTHON)' is" \
			"$$($(PYTHON) --version 2>&1); try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --no-build-isolation --no-deps -e .
	@$(BIN)/python -c 'import matplotlib.font_manager'
	@touch $@
