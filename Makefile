# make demo   everything from nothing: packages, build, harvest, train, evaluate; results in demo/
# make test   format, build with warnings as errors, tests in debug and in release
# make build  the program: .build/release/actcache
# make lint   format check alone       make format  mend it
# make torture  the fault tests for long: 500 kills, ten minutes of fuzzing, every crash point (half an hour)
# make slurm  a job array on a Slurm of its own harvests one cache (half a minute; installs slurm-wlm if run as root)
# make bench  time this machine beside the PyTorch libraries (needs Python; see README)
# make saelens  train an SAE of each kind that SAELens has, and compare latents and reconstructions with SAELens'
# make frontier, half-layers, finetune  the recipes for end-to-end SAEs (recipes/README.md); MODEL=… TEXT=… choose others
# make model  fetch SmolLM2-135M for the README's "real model" section

SWIFT ?= swift
PYTHON ?= python3
ACTCACHE = .build/release/actcache
SWIFT_SOURCES = Package.swift Sources Tests data/generator
DEBIAN_PACKAGES = libopenblas-dev libzstd-dev zstd gzip pkg-config python3-venv
# The Python of the tests that have others read our files.
export ACTCACHE_PYTHON ?= $(CURDIR)/.build/python/bin/python

.PHONY: demo frontier half-layers finetune test saelens torture slurm build lint format setup readers bench model clean

demo: build
	@sh scripts/demo.sh $(ACTCACHE)

frontier half-layers finetune: build
	@sh recipes/$@/run.sh $(ACTCACHE)

build: setup
	@echo "== build (release) =="
	$(SWIFT) build -c release

test: setup readers lint
	@echo "== build (warnings are errors) and tests, debug =="
	$(SWIFT) test
	@echo "== build and tests, release =="
	$(SWIFT) test -c release
	@echo "== a Slurm job array =="
	@sh scripts/test_slurm.sh $(ACTCACHE)
	@echo "== all tests passed =="

torture: setup
	ACTCACHE_KILLS=500 ACTCACHE_FUZZ_SECONDS=150 ACTCACHE_FAULTS=all $(SWIFT) test -c release --filter 'KillTests|FuzzTests|FaultTests|ShardTests|ManifestTests'
	@sh scripts/test_slurm.sh $(ACTCACHE)

saelens: build
	@sh scripts/check_saelens.sh $(ACTCACHE) $(PYTHON)

slurm: build
	@sh scripts/test_slurm.sh $(ACTCACHE)

lint: setup
	@echo "== format check =="
	$(SWIFT) format lint --strict --recursive $(SWIFT_SOURCES)

format:
	$(SWIFT) format --in-place --recursive $(SWIFT_SOURCES)

setup:
	@sh scripts/setup.sh $(DEBIAN_PACKAGES)

readers: setup
	@sh scripts/python_readers.sh $(PYTHON) .build/python

bench: build
	@sh scripts/bench_peers.sh $(ACTCACHE) $(PYTHON)

model:
	@sh scripts/fetch_smollm2.sh

clean:
	rm -rf .build demo recipes/out
