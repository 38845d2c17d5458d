# The words of the project; CONTRIBUTING.md says what each is for.

TIME ?= 60
ARGS ?= --help

# What the tests start: real clients, endpoints and brokers; and what the build needs beside Rust.
PACKAGES = bsdutils ca-certificates chromium coreutils curl dnsmasq-base etcd-server gcc iproute2 libc6-dev mosquitto mosquitto-clients mount nftables nghttp2-client nghttp2-server nginx-light openssl prometheus python3-venv rsyslog rsyslog-gnutls util-linux
# Found at once if all are there, so that a second run needs neither network nor root.
PROGRAMS = chromium curl dnsmasq etcd gcc h2load ip mosquitto mosquitto_pub mosquitto_sub mount nft nghttp nghttpd nginx openssl prlimit prometheus promtool python3 rsyslogd script setpriv stdbuf unshare
# What the benchmarks start.
bench: PACKAGES = haproxy libnginx-mod-stream nghttp2-client nginx-light openssl python3-venv wrk
bench: PROGRAMS = h2load haproxy nghttp nginx openssl python3 wrk
# Without more, the benchmark measures what it measures by default.
bench instructions: ARGS =
# What counts instructions.
instructions: PACKAGES = nghttp2-client nginx-light strace valgrind
instructions: PROGRAMS = h2load nginx strace valgrind

.PHONY: run demo test check advisories bench instructions fuzz packages python nextest deny fuzzer

run:
	cargo run --release -- $(ARGS)

demo:
	cargo run --release -- demo

test: packages python nextest
	cargo nextest run --workspace --no-fail-fast
	cargo test --workspace --doc

check: deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
	cargo deny check bans licenses sources
	@$(MAKE) --no-print-directory advisories

# A machine that cannot reach the database can still check everything else; it says what it did not check.
advisories: deny
	@if cargo deny fetch db; then \
		cargo deny check advisories; \
	else \
		echo "advisories NOT CHECKED: their database cannot be reached from here" >&2; \
	fi

bench: packages
	cargo build --profile dist
	python3 bench/run.py $(ARGS)

# `BLESS=1` stores what is counted; bench/instructions.py says more.
instructions: packages
	cargo build --profile dist
	python3 bench/instructions.py $(if $(BLESS),--bless) $(ARGS)

# Each target for TIME seconds. Stable Rust has no sanitizers; a safe crate needs none to find a panic.
fuzz: fuzzer
	./fuzz/run $(TIME)

packages:
	@PATH="$$PATH:/usr/sbin" ; for program in $(PROGRAMS); do command -v $$program > /dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
		sudo=$$(command -v sudo || true); \
		$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	fi

# gRPC in Python, in a place of its own.
python: packages
	@target/python/bin/python -c "import grpc, grpc_health, jsonschema, opentelemetry.sdk, opentelemetry.proto, opentelemetry.propagators.b3" 2> /dev/null || { \
		python3 -m venv target/python && \
		target/python/bin/python -m pip install -q -r crates/umay/tests/python/requirements.txt; \
	}

# These versions build with the toolchain of rust-toolchain.toml; the newest may want a newer one.
nextest:
	@cargo nextest --version > /dev/null 2>&1 || cargo install --locked cargo-nextest@0.9.151

deny:
	@cargo deny --version > /dev/null 2>&1 || cargo install --locked cargo-deny@0.20.2

fuzzer:
	@cargo fuzz --version > /dev/null 2>&1 || cargo install --locked cargo-fuzz
