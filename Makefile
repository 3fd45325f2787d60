# Two commands for a newcomer: `make demo` and `make test`. Everything lives in .venv in this checkout.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL ?= $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo ui docs test coverage pythons check hooks mutation mutants messages bench tables bundle inception build clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# An environment of an older Python would stay: `venv` leaves the one that it finds.
OLD := error: securesplit needs Python 3.11 or newer, and $(PYTHON) is %d.%d\nhint: make demo PYTHON=python3.12

$(VENV)/.base: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit("$(OLD)" % v if v < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@chmod go= certs  # keygen refuses a folder that others can change, and under umask 002 a checkout has such ones
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.train: $(VENV)/.dev
	$(INSTALL) --editable '.[train,jax,onnx,deploy]'
	@touch $@

demo: $(VENV)/.base  ## keys, a worker, a photo, its diagnosis, and a picture of what left the device
	$(BIN)/securesplit demo --out demo.png

$(VENV)/.ui: $(VENV)/.base
	$(INSTALL) --editable '.[ui]'
	@touch $@

ui: $(VENV)/.ui  ## a page in the browser that asks about photos, with a worker of its own
	$(BIN)/securesplit ui --embedded

$(VENV)/.docs: $(VENV)/.base
	$(INSTALL) --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs  ## the documents as a site with an API reference, under build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/check_site.py build/site

test: $(VENV)/.dev  ## the test suite; real photos are used where SECURESPLIT_DATA or ../shared/data is there
	$(BIN)/python -m tests

# What takes long, kills processes or drives a browser is left out; TESTS may name any part of the suite instead.
TESTS ?= tests -m "not slow and not faults and not browser" --ignore tests/training --ignore tests/interop

coverage: $(VENV)/.dev  ## the share of lines and branches that the quick tests reach; all lines under build/coverage/html
	$(BIN)/python -m coverage run -m pytest -q $(TESTS)
	$(BIN)/python -m coverage html --quiet
	$(BIN)/python -m coverage report --skip-covered --sort cover

pythons:  ## the core and its tests on each of Python 3.11 to 3.14 that this machine has
	bash .ci/pythons

hooks: $(VENV)/.dev  ## run `make check` before each commit (pre-commit, nothing is fetched)
	$(BIN)/pre-commit install

check: $(VENV)/.dev  ## linters, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.mutation: $(VENV)/.dev
	$(INSTALL) --editable '.[mutation]'
	@touch $@

mutation: $(VENV)/.mutation  ## does a test notice every change of accounting, noise, ledger and sealing?
	$(BIN)/python -m tests.mutation

mutants: $(VENV)/.dev  ## the mutants that once lived or would be worst, by name, in a minute
	$(BIN)/python -m tests.mutants

messages: $(VENV)/.dev  ## bring the catalogues under securesplit/locale up to date with the texts in the code
	$(BIN)/python -m tests.catalogues

# A round takes about five minutes, environments and networks of the first run come on top. PEERS='--only "LitServe"'
# measures some; publishing needs all.
ROUNDS ?= 3
PEERS ?= --publish

bench: $(VENV)/.train  ## ours beside its peers: docs/performance.md, and a failure where a ratio got worse than before
	$(BIN)/python -m benchmarks.performance --rounds $(ROUNDS) $(PEERS)

tables: $(VENV)/.dev  ## the other tables of figures, printed and saved under build/bench
	$(BIN)/python -m benchmarks.all

# The gate learns from a collection with phone photos; GATE may hold its --others, --others-licence and --phone-learned.
# FOLDS: bundles that held phone photos out, by whose answers those to phone photos are calibrated.
COLLECTION ?= $(DATA)

bundle: $(VENV)/.train  ## train the default bundle, gate, attack decoder and encrypted preset: make bundle DATA=... WEIGHTS=... COLLECTION=...
	@test -f "$(COLLECTION)/phone/metadata.csv" || \
		{ echo 'error: there is no "$(COLLECTION)/phone/metadata.csv", from which the gate learns phone photos' >&2; \
		echo 'hint: name a collection with COLLECTION=..., or take the commands one by one, without training.gate.fit' >&2; \
		exit 2; }
	$(BIN)/python -m training.bundle.default --data "$(DATA)" --weights "$(WEIGHTS)"
	$(BIN)/python -m training.gate.fit --data "$(COLLECTION)" $(GATE)
	$(BIN)/python -m training.bundle.attack_decoder --data "$(DATA)"
	$(BIN)/python -m training.bundle.encrypted --data "$(DATA)"
	$(if $(FOLDS),$(BIN)/python -m training.bundle.kinds --data "$(COLLECTION)" $(FOLDS:%=--fold %))

LICENCE ?= CC BY-NC-SA 4.0, non-commercial, from HAM10000

inception: $(VENV)/.train  ## train InceptionResNetV2, taught by the default bundle: make inception DATA=... LICENCE=...
	$(BIN)/python -m training.train --config inception --data "$(DATA)" --run build/inception \
		--bundle build/inception-bundle --licence "$(LICENCE)"

build: $(VENV)/.dev  ## the wheel, under dist
	$(BIN)/python -m build --wheel

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist demo.png
