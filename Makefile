# `make demo` and `make test` set up everything they need in .venv; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-out
# The installed program from end to end: verbs, presets, priors, one render, the door for Python
WHEEL_TESTS := test_wheel.py test_cli.py test_preset_loader.py test_python_door.py

SOUNDFONTS ?= /usr/share/sounds/sf2/FluidR3_GM.sf2 /usr/share/sounds/sf3/MuseScore_General_Full.sf3
KITS ?= /usr/share/hydrogen/data/drumkits

.PHONY: demo test test-all wheel-test lint types format rivals soak priors recordings-named clean

demo: $(VENV)/run.stamp
	$(BIN)/stemwright separate examples/mix.flac --output $(DEMO) --report light

# `make test COVERAGE=1` also prints how much of the code the tests reach, branches included.
test: $(VENV)/dev.stamp
	$(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest -m "not slow" --durations=10
	$(if $(COVERAGE),$(BIN)/python -m coverage report --skip-covered --sort=cover)

test-all: $(VENV)/dev.stamp
	$(BIN)/python -m pytest --durations=20

# What is installed is what is tested: the wheel, in a folder where no sources lie beside it.
wheel-test: $(VENV)/dev.stamp
	rm -rf build/wheel && mkdir -p build/wheel/away
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel/installed build/wheel/*.whl
	cp -r tests examples docs README.md build/wheel/away
	cd build/wheel/away && PYTHONPATH=../installed PYTHONSAFEPATH=1 ../../../$(BIN)/python -m pytest \
		-p no:cacheprovider -m "not slow" $(addprefix tests/,$(WHEEL_TESTS))

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# Most studios are not on Linux: what is missing there is guarded where it is used. Benches are
# for the developer's machine, and some of them need signals and file systems of Unix.
types: $(VENV)/dev.stamp
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 engine export hotfolder presets stemwright.py
	$(BIN)/mypy --platform darwin

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# docs/systems.md and docs/interleaved.md anew, everything trained here: make rivals RECORDINGS=folder with
# <instrument>/rendered_*; MINUTES for each of ten trainings, four times as many for MusicGlow, which is one network
# for four stems, and UPDATES of each decoder of the family (six trainings more). What is finished stays; a try of ten
# minutes: RIVALS=/tmp/try MINUTES=0.1 UPDATES=4 GAN_STEPS=2 JUDGE="--every 9 --seconds 3".
RIVALS ?= build/rivals
FOUR := vocals bass drums other
MINUTES ?= 60
UPDATES ?= 1000
GAN_STEPS ?= 25
# of `prior gan`; the published 1e-4 for batches of 64 would need days on two cores
GAN_TRAINING ?= --batch 8 --learning-rate 4e-4
SEED ?= 0
DEVICE ?= auto
# options of both pages: --set COLUMN=LAYOUT:FOLDER, --every, --seconds
JUDGE ?=
FOURFOLD = $$($(BIN)/python -c 'print(round(4 * $(MINUTES), 3))')
rivals: recordings-named $(VENV)/dev.stamp
	$(BIN)/python bench/song_folders.py $(RECORDINGS) $(RIVALS)/songs --stems $(RIVALS)/stems
	test -e $(RIVALS)/stems.pack || $(BIN)/stemwright prior pack $(RIVALS)/stems -o $(RIVALS)/stems.pack
	for network in demucs waveunet; do test -e $(RIVALS)/$$network/$$network.yaml || \
		$(BIN)/stemwright separator train $$network $(RIVALS)/songs --seed $(SEED) \
		--device $(DEVICE) --minutes $(MINUTES) -o $(RIVALS)/$$network || exit 1; done
	mkdir -p $(RIVALS)/gans
	for stem in $(FOUR); do test -e $(RIVALS)/gans/$$stem.gan || { \
		$(BIN)/stemwright prior gan $(RIVALS)/songs --stem $$stem --seed $(SEED) $(GAN_TRAINING) \
		--device $(DEVICE) --minutes $(MINUTES) -o $(RIVALS)/gan-$$stem && \
		cp $(RIVALS)/gan-$$stem/$$stem.gan $(RIVALS)/gans; } || exit 1; done
	for stem in $(FOUR); do test -e $(RIVALS)/instglow/$$stem.prior || { \
		$(BIN)/stemwright prior train --stem $$stem $(RIVALS)/stems.pack/$$stem --no-head --seed $(SEED) \
		$$(for other in $(FOUR); do test $$other = $$stem || echo --against $$other=$(RIVALS)/stems.pack/$$other; done) \
		--device $(DEVICE) --minutes $(MINUTES) -o $(RIVALS)/instglow-$$stem && \
		$(BIN)/stemwright prior export $(RIVALS)/instglow-$$stem -o $(RIVALS)/instglow/$$stem.prior; } || exit 1; done
	test -e $(RIVALS)/musicglow.prior || { $(BIN)/stemwright prior train --music --seed $(SEED) --device $(DEVICE) \
		$(foreach stem,$(FOUR),$(stem)=$(RIVALS)/stems.pack/$(stem)) -o $(RIVALS)/musicglow \
		--minutes $(FOURFOLD) && \
		$(BIN)/stemwright prior export $(RIVALS)/musicglow -o $(RIVALS)/musicglow.prior; }
	$(BIN)/python bench/interleaved.py $(RIVALS)/songs --out $(RIVALS)/family --scores $(RIVALS)/interleaved.jsonl \
		--updates $(UPDATES) --seed $(SEED) --device $(DEVICE) $(JUDGE) > $(RIVALS)/interleaved.md
	$(BIN)/python bench/systems.py --scores $(RIVALS)/systems.jsonl --recordings $(RECORDINGS) \
		--card "Demucs v2=$(RIVALS)/demucs/demucs.yaml" --card Wave-U-Net=$(RIVALS)/waveunet/waveunet.yaml \
		--card interleaved=$(RIVALS)/family/interleaved.yaml --gans $(RIVALS)/gans --gan-steps $(GAN_STEPS) \
		--instglow $(RIVALS)/instglow --musicglow $(RIVALS)/musicglow.prior $(JUDGE) \
		--minutes "Demucs v2=$(MINUTES)" --minutes Wave-U-Net=$(MINUTES) --minutes "GAN prior=$(FOURFOLD)" \
		--minutes InstGlow=$(FOURFOLD) --minutes MusicGlow=$(FOURFOLD) > $(RIVALS)/systems.md

soak: $(VENV)/dev.stamp
	$(BIN)/python bench/soak.py

# The shipped priors anew, four to seven hours on two cores: make priors RECORDINGS=folder
priors: recordings-named $(VENV)/dev.stamp
	$(BIN)/stemwright prior make export/shipped.yaml --recordings $(RECORDINGS) \
		$(addprefix --soundfont ,$(SOUNDFONTS)) --kits $(KITS) --output runs/shipped --into engine/priors

recordings-named:
	$(if $(RECORDINGS),,$(error RECORDINGS is missing: make priors (or rivals) RECORDINGS=folder, with the recordings that docs/priors.md lists; it needs fluidsynth, the SoundFonts of SOUNDFONTS and the drum kits of KITS, too))

clean:
	rm -rf $(VENV) $(DEMO) build dist

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.14 is needed, this is " + sys.version.split()[0] if not (3, 11) <= sys.version_info[:2] <= (3, 14) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

# What the program needs at work: no torch.
$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[cpu]"
	touch $@

# torch first and alone: its exact version decides which build is taken.
$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --editable ".[cpu,export,cluster,web]" --group dev
	touch $@
