# The two main commands are `make workbook` and `make test`. All generated files are in build/ and .venv/.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
# not ?=, because some shells set HOST
HOST   := pi@raspberrypi.local
SEEDS  := 0-2
# small networks are fastest on one thread
export OMP_NUM_THREADS := 1
# where it is set, each of hundreds of processes compiles our modules again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help workbook pdf test test-all lint format fuzz lab pi notebooks figures cpp handout test-machines bench pins doctor clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

workbook: $(VENV)/ready  ## run the notebooks that changed on real data: a website, results and models under build/
	@$(RUN) -m workbook book workbook

pdf: $(VENV)/ready  ## print the executed notebooks to one file, build/workbook.pdf (needs Chromium; a minute)
	@$(RUN) -m workbook book pdf

test: $(VENV)/ready  ## run every test, including a quick run of each notebook
	@$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(RUN) -m pytest -m alone

lint: $(VENV)/ready  ## check format, common mistakes and types of all code; `make format` fixes most problems
	@$(RUN) -m ruff check -q .
	@$(RUN) -m ruff format --check -q .
	@$(RUN) -m mypy --no-error-summary

format: $(VENV)/ready  ## format all code and fix what `make lint` reports
	@$(RUN) -m ruff check --fix -q .
	@$(RUN) -m ruff format -q .

test-all: $(VENV)/ready  ## run every test, including the slow ones of labs, SSH and emulated processors (an hour or two)
	@WORKBOOK_ALL_TESTS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	@$(RUN) -m pytest -m alone
	@$(RUN) -m pytest -v -s tests/emulated_notebooks.py tests/emulated_integers.py tests/emulated_detectors.py tests/emulated_torch.py tests/emulated_half.py tests/emulated_armnn.py

fuzz: $(VENV)/ready  ## run random networks through every converter (an hour; FUZZ_NETWORKS=20 for fewer)
	@$(RUN) -m pytest -s tests/fuzz/networks.py

lab: $(VENV)/ready  ## open the notebooks in JupyterLab
	@$(RUN) -m jupyter lab --notebook-dir notebooks

pi: $(VENV)/ready  ## set up a Raspberry Pi if needed and open its JupyterLab: make pi HOST=pi@raspberrypi.local (TORCH=1 for PyTorch there)
	@$(RUN) -m workbook pi start$(if $(TORCH), --torch) $(HOST)

notebooks: $(VENV)/ready  ## execute the notebooks in place, to commit them
	@$(RUN) -m workbook book in-place

figures: $(VENV)/ready  ## train the networks of the stored curves and tables in notebooks/figures/ (half an hour)
	@$(RUN) -m workbook book figures

cpp: $(VENV)/ready  ## build the C++ programs that notebook 08 compares with Python, under build/cpp/ (a minute or two, once)
	@$(RUN) -m workbook cpp

handout: $(VENV)/ready  ## create the zip for participants, build/handout.zip: the workbook and the labs without solutions
	@$(RUN) -m labs.grading handout build/handout.zip

test-machines: $(VENV)/ready  ## test claims about trained networks over seeds and processor settings, SEEDS=0-2 (an hour)
	@$(RUN) tests/machines.py --seeds $(SEEDS)
	@$(RUN) tests/machines.py --seeds $(SEEDS) --books

bench: $(VENV)/ready  ## compare our timing and metrics with the best tools (minutes)
	@for script in tests/benchmarks/*.py; do echo "== $$script"; $(RUN) $$script || exit 1; done

doctor: $(VENV)/ready  ## check this machine, with advice
	@$(RUN) -m workbook doctor

$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) and sys.maxsize > 2**32 else f"Python {v[0]}.{v[1]} cannot be used: the workbook needs a 64-bit Python 3.11 to 3.13. Name one: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@# the CPU build of torch if its index responds; the default index has a larger build on Linux
	@index=$$($(RUN) -c "import urllib.request as u; u.urlopen('https://download.pytorch.org/whl/cpu/torch/', timeout=3); print('--extra-index-url https://download.pytorch.org/whl/cpu')" 2>/dev/null); \
	 $(RUN) -m pip install -qq --disable-pip-version-check $$index -r requirements.txt
	@# helpers was a distribution of its own until version 0.2
	@$(RUN) -m pip uninstall -qq --yes helpers
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

pins: $(VENV)/ready  ## compile requirements.in into requirements.txt and environment.yml
	@mkdir -p build
	@{ echo "# Every package and version of the laptop environment, compiled from requirements.in by 'make pins'. Do not edit."; \
	   $(RUN) -m uv pip compile requirements.in --quiet --universal --python-version 3.11 --no-annotate --no-header $(addprefix --find-links ,$(PIP_FIND_LINKS)) \
	   | grep -vE '^(nvidia-|cuda-|triton)'; } > build/requirements.txt && mv build/requirements.txt requirements.txt
	@# nvidia packages are not pinned: a CUDA build of torch requires its own, a CPU build none
	@{ sed -n '/^name:/,/- pip:/p' environment.yml; echo "    - --constraint requirements.txt"; \
	   sed -E -e '/^#/d' -e '/^$$/d' -e 's/^/    - /' requirements.in; } > build/environment.yml && mv build/environment.yml environment.yml

clean:  ## delete models, the website and downloads; keep measurements and the environment
	rm -rf build/models build/html build/site build/notebooks build/workbook.pdf build/data
