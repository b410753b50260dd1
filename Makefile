# The short commands. Everything they do can be done by hand: CONTRIBUTING.md has the long ones.
#   make demo | test | build | bench | format | tidy | clean | setup
# Variables: BUILD=folder  JOBS=n  T2V_TORCH=your LibTorch  T2V_CUDA=AUTO|ON|OFF
#            PROMPT="..." (make demo)  CMAKE_ARGS="-D..."

SHELL := /bin/bash
BUILD ?= build
# As many jobs as there are cores, but no more than one for each 1.5 GB of memory.
JOBS ?= $(shell m=$$(awk '/MemTotal/{print int($$2/1572864)}' /proc/meminfo); n=$$(nproc); \
          j=$$((m < n ? m : n)); echo $$((j < 1 ? 1 : j)))
PROMPT ?= a small red circle moves right on a black background
DEMO ?= t2v-demo.mp4

export T2V_TORCH
configure = cmake -S . -B $(BUILD) -G Ninja --log-level=WARNING -DT2V_TORCH=$(T2V_TORCH) \
              $(if $(T2V_CUDA),-DT2V_CUDA=$(T2V_CUDA)) $(CMAKE_ARGS)

.PHONY: help setup setup-test build demo test bench format tidy clean
help:
	@sed -n '2,4s/^# //p' Makefile

setup:
	@tools/setup/setup.sh

setup-test:
	@tools/setup/setup.sh test

build: setup
	@$(configure)
	@cmake --build $(BUILD) -j $(JOBS) --target t2v_program
	@echo "the program: $(BUILD)/t2v"

demo: build
	$(BUILD)/t2v generate --prompt "$(PROMPT)" -o $(DEMO)
	@echo
	@echo "Your first video: $(abspath $(DEMO))"
	@echo "Next:"
	@echo "  make demo PROMPT=\"a large blue star spins on a white background\""
	@echo "  $(BUILD)/t2v generate --prompt \"...\" --seed 7 -o another.mp4"
	@echo "  $(BUILD)/t2v generate --help          all that can be asked for"
	@echo "  models/README.md                   the big models (Wan) and where to get them"

test: setup-test
	@$(configure)
	@cmake --build $(BUILD) -j $(JOBS)
	@tools/run_tests.py $(BUILD)

bench: setup
	@$(configure)
	@cmake --build $(BUILD) -j $(JOBS) --target t2v_bench
	@echo "the benchmark programs: $(BUILD)/bench_*; their drivers: tools/bench"

format: setup-test
	@tools/check_format.py --fix

tidy: setup-test
	@$(configure)
	@cmake --build $(BUILD) -j $(JOBS)
	@tools/check_tidy.py $(BUILD)

clean:
	rm -rf $(BUILD)
