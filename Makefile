# `make reproduce`: the whole leaderboard from a fresh checkout. `make test`: the tests. Both set up .venv/ first where needed.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
READY := $(VENV)/.ready

export PATH := $(VENV)/bin:$(PATH)
export OMP_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false
export DVC_NO_ANALYTICS := 1
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export MPLBACKEND := Agg

.PHONY: setup test reproduce pretrain readme
.DEFAULT_GOAL := reproduce

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("petlbench needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@test -x $(VENV)/bin/python || { echo "making .venv"; $(PYTHON) -m venv $(VENV); }
	@echo "installing into .venv"
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@$(VENV)/bin/python -c 'import mmengine.runner'  # writes a parser cache, which two workers at once would write over each other
	@touch $@

test: setup
	@$(VENV)/bin/python -m pytest -q -n logical

# PROFILE=smoke or PROFILE=paper writes that profile into params.yaml first, GROUP=real or GROUP=extras that group of tasks or methods;
# without them params.yaml decides.
reproduce: setup
ifdef PROFILE
	@sed 's/^profile: *[a-z]*/profile: $(PROFILE)/' params.yaml > params.yaml.new && mv params.yaml.new params.yaml
endif
ifdef GROUP
	@sed 's/^groups: *\[[a-z, ]*\]/groups: [$(GROUP)]/' params.yaml > params.yaml.new && mv params.yaml.new params.yaml
endif
	@status=0; dvc repro || status=$$?; petlbench show; exit $$status

pretrain: setup
	@petlbench pretrain $(BACKBONE) && dvc commit --force pretrain@$(BACKBONE)

# Puts ViLT's table and plot of the last report into README.md, all others, and the papers' tables, into docs/boards.md.
readme:
	@mkdir -p docs && cp reports/vilt-macs.png docs/pareto.png
	@awk '/<!-- \/board -->/ {hide = 0} !hide {print} /<!-- board -->/ {hide = 1; while (("cat reports/vilt.md" | getline line) > 0) print line}' \
		README.md > README.md.new && mv README.md.new README.md
	@for part in $$(ls reports/*.md | grep -v '/vilt\.md$$'); do cat $$part; echo; done > docs/boards.md
	@cp reports/*-samples.png docs/ 2> /dev/null || true
