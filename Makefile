# `make up` and `make test` need nothing but a Debian or Ubuntu base and root or sudo.
RUN := @scripts/run.sh
TIME ?= 600

.PHONY: help up test fuzz bench lint advisories fmt generate install clean

help: ## List what can be made
	@sed -n 's/^\([a-z]*\): ## /  make \1\t/p' Makefile | expand -t 16

up: ## Install what is missing, build powerdev, start an environment for this folder
	@scripts/bootstrap.sh
	$(RUN) cargo run --profile quick --locked -- up --trust

test: ## Install what is missing, then run every check and test, against a real Engine
	@scripts/bootstrap.sh test
	$(RUN) cargo fmt --all --check
	$(RUN) cargo clippy --workspace --all-targets --locked -- -D warnings
	$(RUN) cargo test --workspace --locked --no-fail-fast
	$(RUN) env SEED=1 scripts/fuzz.sh 60

fuzz: ## Feed what reads others' files and messages with inputs that nobody wrote: make fuzz TIME=600, seconds each
	@scripts/bootstrap.sh fuzz
	$(RUN) scripts/fuzz.sh $(TIME)

bench: ## Measure powerdev side by side with what one would use instead
	@scripts/bootstrap.sh bench
	$(RUN) cargo bench --locked --bench side_by_side

lint: ## Check the format, the Rust code for Linux and macOS, the dependencies, the scripts
	@scripts/bootstrap.sh lint
	$(RUN) cargo fmt --all --check
	$(RUN) cargo clippy --workspace --all-targets --locked -- -D warnings
	$(RUN) scripts/check-macos.sh
	$(RUN) cargo deny --locked check --deny warnings bans licenses sources
	@shellcheck scripts/*.sh .ci/run

advisories: ## Ask the RustSec database on the network about the dependencies
	@scripts/bootstrap.sh lint
	$(RUN) cargo deny --locked check advisories

fmt: ## Format the Rust code
	$(RUN) cargo fmt --all

generate: ## Write the reference, the schema, env_template and the completions anew
	$(RUN) env POWERDEV_BLESS=1 cargo test --quiet --locked --test generated

install: ## Install powerdev for this user
	$(RUN) cargo install --locked --path .

clean: ## Remove what was built here; environments stay
	$(RUN) cargo clean
