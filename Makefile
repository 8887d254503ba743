# What one does with the project: `make test` on any Debian 12 or 13 with Rust, as root, for the tests make containers.

.PHONY: test test-debian12 test-debian13 test-vm demo lint bench fuzz deb release test-release

test:
	sh tests/prepare.sh
	PHOENIX_NVIDIA_TEST_DIRECTORY=$$(sh tests/directory.sh) cargo test
	cargo test --examples
	if [ -e /sys/fs/cgroup/freezer ]; then cargo test --lib cannot_be_killed -- --ignored; fi
	if [ -e /dev/loop-control ]; then \
		PHOENIX_NVIDIA_TEST_DIRECTORY=$$(sh tests/directory.sh) cargo test --test it -- --ignored file_systems proxmox::stopped; \
	fi
	sh demo/template.sh "$${CARGO_TARGET_DIR:-target}/test-template/podman.tar.zst" podman
	PHOENIX_NVIDIA_TEST_DIRECTORY=$$(sh tests/directory.sh) cargo test --test it engines::podman -- --ignored
	if [ -e /sys/fs/cgroup/systemd ] || [ -e /sys/fs/cgroup/cgroup.controllers ]; then \
		sh demo/template.sh "$${CARGO_TARGET_DIR:-target}/test-template/systemd.tar.zst" systemd && \
		PHOENIX_NVIDIA_TEST_DIRECTORY=$$(sh tests/directory.sh) cargo test --test it booted_units -- --ignored; \
	fi
	PHOENIX_NVIDIA_TEST_DIRECTORY=$$(sh tests/directory.sh) cargo test --test it status_page -- --ignored
	sh tests/prepare.sh --afterwards

# The same in a root file system of that release.
test-debian12:
	sh tests/in_release.sh bookworm

test-debian13:
	sh tests/in_release.sh trixie

# Boots Debian 13 in an emulated machine. Ends in under 20 minutes on two cores.
test-vm:
	sh tests/vm/run.sh

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cd fuzz && RUSTFLAGS="--cfg fuzzing" cargo check --bins

demo:
	sh demo/run.sh

bench:
	sh tests/prepare.sh
	cargo build --release --examples
	cargo bench

# `make fuzz SECONDS=600` for longer; each target has so many.
SECONDS = 60
fuzz:
	sh fuzz/run.sh $(SECONDS)

# Where cargo builds.
target = $(or $(CARGO_TARGET_DIR),target)

deb:
	cargo build --release --locked
	sh packaging/deb.sh $(target)/release/phoenix-nvidia $(target)/deb

release:
	sh packaging/release.sh $(target)/release-files

# Takes a quarter of an hour: two builds, and a root file system of each release of Debian.
test-release:
	sh tests/release.sh
