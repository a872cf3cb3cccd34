# Everything that is done to this project is a target here; CI calls only these.
#
#   make demo    see it work: one writer and three reader processes, ten seconds
#   make test    everything that is tested (about a quarter of an hour on two cores)
#   make quick   the tests in a debug build only
#   make bench   what a write and a read cost, beside memcpy, and what holds add

CARGO ?= cargo
# The versions in Cargo.lock, and no others.
LOCKED = --locked
POLARS = --manifest-path examples/polars/Cargo.toml --target-dir target/polars

.PHONY: demo test quick lint doc test-debug test-release test-bare test-doc loom polars bench bench-once

demo:
	$(CARGO) run $(LOCKED) --release -p qads -- demo

# The documentation tests come last: the closing line of a run then tells of tests that ran.
test: lint doc test-debug test-release test-bare loom polars bench-once test-doc
	@echo "all tests passed"

quick: test-debug test-doc

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path examples/polars/Cargo.toml --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) -p qadataswap --no-default-features -- -D warnings
	@! grep -rn 'sync::atomic' src --include='*.rs' --exclude=sync.rs || \
		{ echo "atomics come from crate::sync, which loom can switch"; exit 1; }

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --workspace --no-deps

test-debug:
	$(CARGO) test $(LOCKED) --workspace --lib --bins --tests

test-release:
	$(CARGO) test $(LOCKED) --workspace --release --lib --bins --tests

# Without default features the bytes ring has libc as its only dependency.
test-bare:
	$(CARGO) check $(LOCKED) -p qadataswap --no-default-features
	@test "$$($(CARGO) tree $(LOCKED) -p qadataswap --no-default-features -e normal --prefix none | sed 's/ .*//' | sort -u | xargs)" \
		= "libc qadataswap" || { echo "the bare ring has gained a dependency"; exit 1; }

test-doc:
	$(CARGO) test $(LOCKED) -p qadataswap --doc

# A target directory of its own, because the cfg changes every crate's build.
loom:
	RUSTFLAGS="--cfg qads_loom" CARGO_TARGET_DIR=target/loom \
		$(CARGO) test $(LOCKED) --release -p qadataswap-loom-tests --tests

polars:
	$(CARGO) run $(LOCKED) $(POLARS)

bench:
	$(CARGO) bench $(LOCKED) -p qadataswap-bench

# That the benchmarks run; their figures are not looked at.
bench-once:
	$(CARGO) bench $(LOCKED) -p qadataswap-bench -- --once
