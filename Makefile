# Two commands do everything: make demo, make test. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := out/demo
# make test CPU=avx2 (or avx512, avx512-vnni) takes that processor for the machine's; TESTS=tests/quantize runs a part.
CPU :=
TESTS :=
PYTEST := $(BIN)/python -m pytest -n 2 $(if $(CPU),--cpu $(CPU))

.PHONY: setup demo families test test-full lint train-demo train-baseline accuracy bench bench-int8 bench-fpga reproduce-m3vit conformance fuzz docs release clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[compile,export,report,hw,dev]'
	touch $@

demo: setup
	$(BIN)/python -m examples.rooms.demo --out $(OUT)

test: setup lint
	$(PYTEST) -m 'not slow' $(TESTS)

test-full: setup lint
	$(PYTEST) --hypothesis-profile=full $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

train-demo: setup
	$(BIN)/python -m examples.rooms.train

# The dense baseline of the demo model's card.
train-baseline: setup
	$(BIN)/python -m examples.rooms.train --dense

# What int8 and smaller pathways cost in accuracy; writes docs/accuracy.md.
accuracy: setup
	$(BIN)/python -m examples.rooms.accuracy

# Against the peers, which are installed in out/peers, an environment each.
bench: setup
	$(BIN)/python -m benchmarks.cpu_peers --table out/benchmarks.md

bench-int8: setup
	$(BIN)/python -m benchmarks.int8_peers --table out/int8.md

# What the accelerator reaches on the ZCU104, simulated.
bench-fpga: setup
	$(BIN)/python -m benchmarks.fpga_targets

# The hardware table of the M3ViT paper, simulated; docs/reproduction.md.
reproduce-m3vit: setup
	$(BIN)/python -m benchmarks.reproduce_m3vit

# Every form of every generic operator against onnxruntime; writes docs/operators.md.
conformance: setup
	$(BIN)/python -m tests.conformance.table

# Compact models of the field's families, compiled, compared with torch and timed; writes docs/families.md.
families: setup
	$(BIN)/python -m benchmarks.families

# Hostile inputs, N a surface; writes docs/fuzzing.md.
N := 10000
fuzz: setup
	$(BIN)/python -m tests.fuzz --inputs $(N) --table docs/fuzzing.md

# out/docs/site: README and docs/ as pages to read offline, with a reference of the public modules. A broken link is an error.
PAGES := README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md LICENSE docs examples/rooms/CARD.md
docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	rm -rf out/docs
	for page in $(PAGES); do mkdir -p out/docs/source/$$(dirname $$page) && ln -s $(CURDIR)/$$page out/docs/source/$$page; done
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# dist/: the source distribution and the wheel of what is committed, each installed in a fresh environment and tried there.
release: setup lint
	$(BIN)/python -m pytest -n 0 tests/release --release-to dist

clean:
	rm -rf $(VENV) out build dist
