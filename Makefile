# Variables to set on the command line, for example `make preprocess JOBS=4 DATASET=splendor`; `make help` lists them.
DATASET ?=  ## datasets of params.yaml, with a blank between them; default: all of them
JOBS ?=  ## workers; default: all cores
MEMORY_GB ?=  ## memory budget in gigabytes; default: three quarters of the machine
BACKEND ?=  ## threading, loky or dask
DASK_SCHEDULER ?=  ## address of the scheduler, with BACKEND=dask
LOG ?=  ## debug, info, warning or error; default: info
SIMULATE ?=  ## no: take the raw folders as they are, whatever params.yaml says of sample data
PART ?= train## of trace and show: train, val or test
ROW ?= 0## of trace: the row, from 0
FILE ?=  ## of predict: a raw file
REV ?=  ## of diff: a commit or a folder that the workspace is compared with, or two of them; default: HEAD
JSON ?=  ## of diff: yes tells it as JSON
ROWS ?=  ## of show: 10 random rows, :10 the first ones, 5:15 or 3,7
WHERE ?=  ## of show: which rows, as "action_type == 'build'"
SEED ?=  ## of show: another draw of random rows
FORMAT ?=  ## of export: parquet or hf
VALUES ?=  ## of export: raw gives features as they were before split standardised them
WINDOW ?=  ## of export: a feature whose windows are the rows
SHARD_MB ?=  ## of export: most MB of a file; default: 500
URL ?=  ## of remote: ssh://host/path, s3://bucket/path or a folder
REMOTE ?=  ## of verify: yes reads the objects of the remote as well
TAKE ?=  ## of merge: ours or theirs, whose version counts of a raw file that both sides changed
NAME ?=  ## of dataset: the name of the new one
GENERATIONS ?=  ## of iterate: how many in all; default: 3
MODEL ?=  ## of play: a folder with weights.npz; default: the newest network of hex
COLOUR ?=  ## of play: the person's, blue (who moves first) or red; default: blue
HTP ?=  ## of play: yes speaks the protocol of Hex programs on stdin and stdout
KILLS ?=  ## how often torture kills preprocess, default 100, and test-train kills trainings, default 3
VENV ?= .venv## where the virtual environment is
PYTHON ?= $(shell command -v python3.11 || command -v python3)## what makes it

# Recipes take these from their environment, as the text that was typed: neither make nor the shell reads `$(...)`, `;`
# or `*` in it, and after `--` no program takes it for an option. `set -f` leaves only blanks to divide at.
TYPED := JOBS MEMORY_GB BACKEND DASK_SCHEDULER LOG SIMULATE DATASET PART ROW FILE TAKE REMOTE URL NAME KILLS MODEL HTP COLOUR GENERATIONS REV JSON
TYPED += ROWS WHERE SEED FORMAT VALUES WINDOW SHARD_MB
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name))))
export $(TYPED)
export PATH := $(abspath $(VENV))/bin:$(PATH)
READY := $(VENV)/.ready
# What a target needs beside the packages of the pipeline: the extra of that name, unless all of them are there.
ALL := $(VENV)/.ready-all
with = $(or $(wildcard $(ALL)),$(VENV)/.ready-$1)
TORCH := $(VENV)/.torch
TEST_TORCH := $(VENV)/.test-torch
TEST_READERS := $(VENV)/.test-readers
PEERS := $(VENV)/.peers
RUN := $(READY) $(if $(filter dask,$(BACKEND)),$(call with,cluster))
# Without a remote nothing is installed for one: the command says that there is none.
DVC_CONFIGS := .dvc/config .dvc/config.local $(HOME)/.config/dvc/config $(wildcard /etc/xdg/dvc/config)
SHARED = $(if $(shell grep -ls '^\[.*remote ' $(DVC_CONFIGS)),$(call with,remote),$(READY))

# All extras but those with torch, those that only skipped tests need, and what the benchmark compares with.
EXTRAS := cluster,report,look,test,remote,rl,calendars,bench,dev,build,install
# uv installs in a quarter of pip's time, and keeps to the versions and hashes that .requirements.txt pins. Like pip it
# compiles them then: where PYTHONDONTWRITEBYTECODE is set, each process would do so anew. It is the machine's, or a pinned
# one in the environment. pip takes over where uv cannot be had or finds no index.
UV = $(or $(shell command -v uv),$(VENV)/bin/uv)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(VENV)/bin/python --constraint .requirements.txt --build-constraint .requirements.txt --editable
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check install
WITH_PIP = { echo "uv could not install them, see above; pip does, all extras included: a minute or two" >&2; \
	$(PIP) --use-pep517 --require-hashes --requirement .requirements.txt && \
	$(PIP) --no-deps --no-build-isolation --editable .; }

.DEFAULT_GOAL := help
.PHONY: help setup preprocess lock test test-slow test-train test-all torture train sweep play predict iterate check lint format bench bench-peers bench-train bench-iterate status plan diff report verify repair remote push pull merge work dag trace show export slim clean dataset

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nVariables, as in make preprocess DATASET=hex JOBS=4:\n'
	@awk -F ' [?]=.*## ' '/^[A-Z_]+ [?]=.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml .requirements.txt
	@echo "Installing the pinned packages of the pipeline into $(VENV), once: 20 s, 470 MB" >&2
	@$(PYTHON) -m venv $(VENV)
	@command -v uv >/dev/null || { \
		sed -n '/^uv==/,/[^\\]$$/p' .requirements.txt >$(VENV)/uv.txt && $(PIP) --require-hashes --requirement $(VENV)/uv.txt; } || true
	@rm -f $(ALL)
	@$(INSTALL) '.[build]' || $(WITH_PIP)
	@# DVC moves an output into its cache without a copy only if the first link type is the one that works here.
	@$(VENV)/bin/dvc config --local cache.type >/dev/null 2>&1 \
		|| cp --reflink=always pyproject.toml $(VENV)/.reflink 2>/dev/null \
		|| $(VENV)/bin/dvc config --local cache.type hardlink,copy
	@git config merge.folder.driver '"$(abspath $(VENV))/bin/python" -m stages.pipeline.merge_driver %O %A %B %P || { git merge-file -L "yours; type make merge" -L before -L theirs %A %O %B; false; }' || true
	@touch $@

$(ALL): $(READY)
	@echo "Installing what tests, style checks and all other targets need, once: 20 s, 600 MB more" >&2
	@$(INSTALL) '.[$(EXTRAS)]' || $(WITH_PIP)
	@touch $@

$(VENV)/.ready-%: $(READY)
	@echo "Installing what this target needs beside them, the extra $*, once" >&2
	@$(INSTALL) '.[$*]' || $(WITH_PIP)
	@touch $@

$(TORCH): $(READY)
	@echo "Installing torch, once: some minutes, and gigabytes" >&2
	@$(VENV)/bin/python -m pip install --quiet --no-build-isolation --editable '.[train]'
	@touch $@

$(TEST_TORCH): $(TORCH) $(ALL)
	@$(VENV)/bin/python -m pip install --quiet --no-build-isolation --editable '.[train,test-train]'
	@touch $@

$(TEST_READERS): $(ALL)
	@echo "Installing what tests open exports with and run the notebook in, once: 10 s, 380 MB more" >&2
	@$(INSTALL) '.[test-readers]' || $(VENV)/bin/python -m pip install --quiet --no-build-isolation --editable '.[test-readers]'
	@touch $@

$(PEERS): $(ALL)
	@echo "Installing the libraries that the benchmark compares with, once: half a minute, 450 MB" >&2
	@$(INSTALL) '.[peers]' || $(PIP) --no-build-isolation --editable '.[peers]'
	@touch $@

setup: $(READY)  ## Make the virtual environment and install the pinned packages

preprocess: $(RUN)  ## Make sample data if configured, run the pipeline, say what it made and where
	@set -f; exec python -m stages.commands.preprocess -- $$DATASET

train: $(TORCH)  ## Install torch, bring the arrays up to date, train the models and show them beside their baselines
	@set -f; exec python -m stages.commands.train -- $$DATASET

iterate: $(TORCH)  ## Let a network play, learn from its games and play the one before, GENERATIONS times
	@set -f; exec python -m stages.commands.iterate -- $$DATASET

predict: $(TORCH)  ## Say what the trained model predicts for a raw file: make predict DATASET=market FILE=NQ.csv
	@exec python -m stages.predict -- "$$DATASET" "$$FILE"
play: $(READY)  ## Play hex against the newest network, or let a Hex program do it: make play COLOUR=red, HTP=yes
	@exec python -m stages.datasets.hex.play
sweep: $(TORCH)  ## Train with each combination of settings that `sweep` in params.yaml lists, and rank them
	@set -f; exec python -m stages.commands.sweep -- $$DATASET

COMMA := ,
lock: $(READY)  ## Pin all packages of pyproject.toml in .requirements.txt, each with the hashes of its files
	@$(UV) --quiet pip compile --universal --python-version 3.11 $(addprefix --extra ,$(subst $(COMMA), ,$(EXTRAS))) \
		--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--output-file .requirements.txt pyproject.toml

# A file of tests stays in one process. Those with many tests come first; of the slow ones, which tests/conftest.py names.
PARALLEL := --numprocesses auto --dist loadfile

test: $(ALL)  ## Run the tests, without those marked slow
	@python -m pytest -m 'not slow' $(PARALLEL)

test-slow: $(TEST_READERS)  ## Run the tests marked slow: real DVC repositories, kills, remotes
	@python -m pytest -m 'slow and not train' $(PARALLEL) --no-loadscope-reorder

test-train: $(TEST_TORCH)  ## Install torch, and run the tests that need it
	@python -m pytest -m train $(PARALLEL) --no-loadscope-reorder

test-all: test test-slow test-train  ## Run all tests

torture: $(ALL)  ## Attack clones with kills, full disks, flipped bits and cut pushes; takes an hour
	@exec python -m tests.torture

check: lint test  ## Check style, types and tests; changes nothing

lint: $(ALL)  ## Check style and types
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-cache --no-logo

format: $(ALL)  ## Format the code
	@ruff format .
	@ruff check --fix .

bench: $(ALL)  ## Measure CPU and memory against plain pandas and pyarrow loops
	@python tests/bench/bench.py
	@python tests/bench/display.py
	@python tests/bench/market.py
	@python tests/bench/hex.py
	@python tests/bench/rugs.py
	@python tests/bench/shuffle.py
	@python tests/bench/loader.py

bench-peers: $(PEERS)  ## Measure CPU and memory against programs of six other libraries; takes half an hour
	@python tests/bench/peers.py

bench-train: $(ALL) $(TORCH)  ## Train, and measure it against what is demanded of it; takes half an hour
	@python -m stages.commands.train
	@python tests/bench/train.py

bench-iterate: $(ALL) $(TORCH)  ## Make three generations of hex, and measure them against what is demanded
	@python -m stages.commands.train -- hex
	@python tests/bench/iterate.py

status: $(READY)  ## Say what is out of date and why
	@set -f; exec python -m stages.commands.status -- $$DATASET

plan: $(READY)  ## Say what a run would do and cost; runs nothing
	@set -f; exec python -m stages.commands.plan -- $$DATASET

diff: $(READY)  ## Say what differs in the data: make diff REV=HEAD~1, of two REV="v1 v2", with JSON=yes as JSON
	@exec python -m stages.commands.diff -- "$$REV" "$$DATASET"

report: $(call with,report)  ## Write data/reports/index.html, a page of plots and figures, and the data cards
	@set -f; exec python -m stages.report -- $$DATASET

verify: $(if $(REMOTE),$(call with,remote),$(READY))  ## Read everything again and check bytes, rows, groups and values; with REMOTE=yes the remote too
	@set -f; exec python -m stages.commands.verify -- $$DATASET

repair: $(READY)  ## Mend what a kill left half written of DVC's own files
	@set -f; exec python -m stages.commands.repair -- $$DATASET

remote: $(call with,remote)  ## Set the remote to share through: make remote URL=ssh://host/path, s3://bucket/path or a folder
	@exec python -m stages.commands.remote -- "$$URL"

push: $(SHARED)  ## Send arrays and run cache to the remote, and see that all of it is there
	@python -m stages.commands.push

pull: $(SHARED)  ## Get arrays and run cache from the remote; runs nothing
	@python -m stages.commands.pull

merge: $(SHARED)  ## Join your work with what others pushed, data included; TAKE=ours or theirs where both changed a file
	@python -m stages.commands.join

work: $(RUN) $(SHARED)  ## Build batches together with other machines that share the remote
	@set -f; exec python -m stages.commands.work -- $$DATASET

dag: $(READY)  ## Draw the stages
	@dvc dag --collapse-foreach-matrix

trace: $(READY)  ## Name the raw file and line of a row: make trace DATASET=splendor PART=train ROW=123
	@exec python -m stages.commands.trace -- "$$DATASET" "$$PART" "$$ROW"

show: $(READY)  ## Show rows as a table: make show DATASET=hex PART=val ROWS=:5 WHERE="ply > 9"; alone it lists what there is
	@exec python -m stages.commands.show -- "$$DATASET" "$$PART" "$$ROWS" "$$WHERE" "$$SEED"

export: $(READY)  ## Write data/export/: make export FORMAT=parquet DATASET=hex, or hf for load_dataset of Hugging Face
	@exec python -m stages.export -- "$$DATASET" "$$FORMAT" "$$VALUES" "$$WINDOW" "$$SHARD_MB"

slim: $(READY)  ## Drop workspace copies of intermediate and merged arrays; DVC's cache keeps them
	@set -f; exec python -m stages.commands.slim -- $$DATASET

dataset: $(READY)  ## Begin a dataset of your own, from an example that runs: make dataset NAME=sensors
	@exec python -m stages.datasets new -- "$$NAME"

clean:  ## Remove everything the pipeline made from the workspace; raw data, lists and DVC's cache stay
	rm -rf data/intermediate data/merged data/processed data/metrics data/plots data/reports data/logs
	rm -rf data/models data/train data/curves data/checkpoints
	rm -rf data/manifests/*/batches data/manifests/*/expanded.yaml
