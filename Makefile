# container: every container in a virtual machine of its own.
#
#   make hello                      install what is missing, build, run a first container
#   make test                       everything that CI checks
#   make install PREFIX=/usr/local  a complete prefix; DESTDIR for packagers

SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
# What systemd's units name as the prefix.
UNIT_PREFIX ?= $(PREFIX)

TARGET := target
STAGE := $(CURDIR)/$(TARGET)/stage
KERNEL := $(TARGET)/kernel/vmlinux
KERNEL_FULL := $(TARGET)/kernel-full/vmlinux
GUEST := x86_64-unknown-linux-gnu
VMINITD := $(TARGET)/$(GUEST)/guest/vminitd
INITRAMFS := $(TARGET)/initramfs.cpio
BUSYBOX := $(TARGET)/busybox.tar
DEBIAN := $(TARGET)/debian.tar
PROGRAMS := $(TARGET)/programs.tar
BUILDER := $(TARGET)/builder.tar
BUILDER_NEWER := $(TARGET)/builder-newer.tar
OPENRC := $(TARGET)/openrc.tar
CLOUD_KERNEL := $(TARGET)/cloud-kernel
DOCKER := $(TARGET)/docker-client
QEMU_NEWER := $(TARGET)/qemu-backports
PEERS := $(TARGET)/peers
PASST_NEWER := $(TARGET)/passt-newer
CARGO ?= cargo
# Arguments of the benchmark, such as --rounds 30.
BENCH ?=
export CONTAINER_COMMIT ?= $(shell git rev-parse --short=7 HEAD 2>/dev/null || echo unspecified)

PLUGINS := container-core-images container-k8s container-network-bridge container-runtime-linux container-share-virtiofs

.PHONY: hello build deb tarball kernel kernel-full boot-full programs next initramfs stage install test unit engine-newer network-newer boot e2e test-kvm test-real lint fuzz bench bench-services bench-additions bench-builds bench-machines bench-kvm clean packages-% help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,6p'

## The first container.
hello: packages-run packages-build packages-test stage $(BUSYBOX)
	@scripts/hello.sh $(STAGE) $(BUSYBOX)

## What is built.
build: packages-build stage

packages-%:
	@scripts/packages.sh $*

kernel:
	@kernel/build.sh $(TARGET)/kernel

# The larger kernel, for --kernel; not part of `build`. `install` takes it along where it was built.
kernel-full: packages-build
	@kernel/build.sh --flavour full $(TARGET)/kernel-full
	install -D -m 0644 $(KERNEL_FULL) $(STAGE)/share/container/kernel/vmlinux-full-amd64

programs:
	$(CARGO) build --release --locked -p container-cli -p container-apiserver -p container-core-images -p container-network-bridge -p container-runtime-linux \
	    -p container-share-virtiofs -p container-k8s

# Programs of the release that comes next, as far as its protocol goes: tests upgrade to them. Dependencies have the features that the
# tests need, too, where a test is built beside (the smallest is), so they are those of `unit`.
next:
	$(CARGO) build --workspace --locked --bin container-apiserver --bin container --test round_trip \
	    --features container-apiserver/next-protocol,container-cli/next-protocol
	install -D -t $(TARGET)/next $(TARGET)/debug/container-apiserver $(TARGET)/debug/container

initramfs:
	RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
	    $(CARGO) build --profile guest --locked --target $(GUEST) -p vminitd
	@kernel/initramfs.sh $(VMINITD) $(INITRAMFS)

$(BUSYBOX): images/busybox.sh
	@images/busybox.sh $@

# A complete prefix in the build directory: what `install` copies, and what the tests drive.
stage: kernel programs initramfs
	@$(MAKE) --no-print-directory install PREFIX=$(STAGE) DESTDIR= FROM_STAGE=1

install: $(if $(FROM_STAGE),,build)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/container/kernel
	install -m 0755 $(TARGET)/release/container $(TARGET)/release/container-apiserver $(DESTDIR)$(PREFIX)/bin
	for plugin in $(PLUGINS); do \
	    install -D -m 0755 $(TARGET)/release/$$plugin \
	        $(DESTDIR)$(PREFIX)/libexec/container/plugins/$$plugin/bin/$$plugin || exit 1; \
	done
	install -m 0644 plugins/k8s/config.toml $(DESTDIR)$(PREFIX)/libexec/container/plugins/container-k8s
	install -m 0644 $(KERNEL) $(DESTDIR)$(PREFIX)/share/container/kernel/vmlinux-amd64
	[ ! -e $(KERNEL_FULL) ] || install -m 0644 $(KERNEL_FULL) $(DESTDIR)$(PREFIX)/share/container/kernel/vmlinux-full-amd64
	install -m 0644 $(INITRAMFS) $(DESTDIR)$(PREFIX)/share/container/initramfs-amd64.cpio
	@scripts/install-help.sh $(DESTDIR)$(PREFIX)
	for unit in user/container.socket user/container.service system/container.socket system/container.service; do \
	    install -d $(DESTDIR)$(PREFIX)/lib/systemd/$${unit%/*} && \
	    sed 's|@PREFIX@|$(UNIT_PREFIX)|' packaging/systemd/$$unit >$(DESTDIR)$(PREFIX)/lib/systemd/$$unit || exit 1; \
	done

# A Debian package, and an archive with install.sh for other distributions.
deb: build
	@scripts/package.sh deb $(TARGET)/packages

tarball: build
	@scripts/package.sh tar $(TARGET)/packages

## What is checked. Tests are chosen by name from the whole workspace, never by package: a package alone gives its dependencies other features,
## and they would be built once more.
test: packages-run packages-build packages-test lint stage $(BUSYBOX) unit engine-newer network-newer boot e2e test-kvm

lint: packages-build
	@scripts/check-spec.py
	@scripts/check-words.sh
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --manifest-path fuzz/Cargo.toml --target-dir $(TARGET) --no-default-features --locked -- -D warnings
	@scripts/deny.sh

unit:
	CONTAINER_TEST_KERNEL=$(CURDIR)/$(KERNEL) \
	    scripts/second-chance.sh $(CARGO) test --workspace --exclude container-tests --locked --no-fail-fast --

# The engine once more with the newer QEMU of Debian's backports.
engine-newer: packages-run packages-build
	@scripts/qemu-backports.sh $(QEMU_NEWER)
	PATH=$(CURDIR)/$(QEMU_NEWER)/usr/bin:$$PATH CONTAINER_TEST_KERNEL=$(CURDIR)/$(KERNEL) \
	    scripts/second-chance.sh $(CARGO) test --workspace --locked --no-fail-fast --test vm --test confinement --

# Networks without root once more, with a pasta of 2025 as the way out.
network-newer: packages-run packages-build packages-test
	@scripts/passt-newer.sh $(PASST_NEWER)
	PATH=$(CURDIR)/$(PASST_NEWER)/bin:$$PATH scripts/second-chance.sh $(CARGO) test --workspace --locked --no-fail-fast \
	    --test rootless --test floods --

# The guest alone: what the kernel has; then vminitd in real machines, driven over its channel, compared with crun.
boot:
	@kernel/check.sh $(KERNEL)
	VMINITD_KERNEL=$(CURDIR)/$(KERNEL) VMINITD_INITRAMFS=$(CURDIR)/$(INITRAMFS) RUST_TEST_THREADS=2 \
	    scripts/second-chance.sh $(CARGO) test --workspace --locked --test boot -- --ignored

boot-full: packages-test packages-full kernel-full
	@kernel/check.sh --flavour full $(KERNEL_FULL)

e2e: next $(BUSYBOX)
	CONTAINER_TEST_PREFIX=$(STAGE) CONTAINER_TEST_IMAGE=$(CURDIR)/$(BUSYBOX) RUST_TEST_THREADS=2 \
	    scripts/second-chance.sh $(CARGO) test --workspace --locked --no-fail-fast --test e2e --test archives --

# systemd, dockerd, podman, PostgreSQL, redis, nginx, node and CPython of Debian, in roots made by debootstrap, and its cloud kernel: needs root, a mirror
# and some 20 minutes.
test-real: packages-run packages-build packages-test packages-real stage $(BUSYBOX)
	@images/debian.sh system $(DEBIAN)
	@images/debian.sh programs $(PROGRAMS)
	@images/debian.sh openrc $(OPENRC)
	@images/debian.sh builder $(BUILDER)
	@images/debian.sh builder $(BUILDER_NEWER) trixie
	@[ -d $(CLOUD_KERNEL) ] || scripts/unpack-packages.sh $(CLOUD_KERNEL) "$$(. /etc/os-release && echo "$$VERSION_CODENAME")" \
	    @linux-image-cloud-amd64
	CONTAINER_TEST_PREFIX=$(STAGE) CONTAINER_TEST_IMAGE=$(CURDIR)/$(BUSYBOX) CONTAINER_TEST_DEBIAN=$(CURDIR)/$(DEBIAN) \
	    CONTAINER_TEST_PROGRAMS=$(CURDIR)/$(PROGRAMS) CONTAINER_TEST_BUILDER=$(CURDIR)/$(BUILDER) \
	    CONTAINER_TEST_BUILDER_NEWER=$(CURDIR)/$(BUILDER_NEWER) CONTAINER_TEST_OPENRC=$(CURDIR)/$(OPENRC) \
	    CONTAINER_TEST_CLOUD_KERNEL=$(CURDIR)/$(CLOUD_KERNEL) \
	    $(CARGO) test --workspace --locked --test e2e -- --ignored --test-threads=1 real:: programs:: volumes:: shares:: kernel:: build::
	tests/package.sh $(TARGET)/package-root $(BUSYBOX)
	tests/resolved.sh $(STAGE) $(BUSYBOX) $(DEBIAN) $(TARGET)/resolved
	$(MAKE) --no-print-directory test-kvm KVM_MORE=1

# The same programs with real KVM, in a machine inside an emulated one; KVM_MORE=1: more of the tests.
test-kvm: stage $(BUSYBOX)
	binary() { $(CARGO) test --workspace --locked --test "$$1" --no-run --message-format=json 2>/dev/null \
	    | jq -r "select(.executable and .target.name == \"$$1\") | .executable"; } && \
	    e2e=$$(binary e2e) && engine=$$(binary vm) && \
	    CONTAINER_TEST_KERNEL=$(CURDIR)/$(KERNEL) CONTAINER_TEST_PREFIX=$(STAGE) CONTAINER_TEST_IMAGE=$(CURDIR)/$(BUSYBOX) \
	    KVM_MORE=$(KVM_MORE) tests/kvm/run.sh $(TARGET)/kvm "$$e2e" "$$engine"

# Each parser of hostile bytes for FUZZ_SECONDS (60), with the stable compiler.
fuzz: packages-build packages-fuzz
	@scripts/fuzz.sh

bench: packages-run packages-build packages-test packages-bench stage $(BUSYBOX)
	$(CARGO) build --release --locked -p container-engine --example bare_vm
	CONTAINER_TEST_PREFIX=$(STAGE) CONTAINER_TEST_IMAGE=$(CURDIR)/$(BUSYBOX) \
	    $(CARGO) run --locked -p container-bench -- --bare-vm $(TARGET)/release/examples/bare_vm $(BENCH)

# What the services cost without a container.
bench-services: stage
	bench/services.py $(STAGE)

# What a NIC, a volume and a share add to a start.
bench-additions: stage $(BUSYBOX)
	bench/additions.py $(STAGE) $(BUSYBOX)

# What container machines cost: needs root, and a mirror for the Debian root.
bench-machines: stage packages-real $(BUSYBOX)
	@images/debian.sh system $(DEBIAN)
	bench/machines.py $(STAGE) $(BUSYBOX) $(DEBIAN)

# What a build costs beside Debian's docker, with one builder for both: needs root, and a mirror.
bench-builds: stage packages-real $(BUSYBOX)
	@images/debian.sh builder $(BUILDER)
	@[ -d $(DOCKER) ] || scripts/unpack-packages.sh $(DOCKER) "$$(. /etc/os-release && echo "$$VERSION_CODENAME")" docker.io
	bench/builds.py $(STAGE) $(BUSYBOX) $(BUILDER) $(DOCKER)/usr/bin/docker

# Starts, cold and from a template, and idle machines with KVM, in the nested machine; then the same beside peers with machines of their
# own, in a second one, whose state is on a disk, as two of them need.
bench-kvm: packages-run packages-build packages-test packages-bench stage $(BUSYBOX)
	@scripts/qemu-backports.sh $(QEMU_NEWER)
	@scripts/peers.sh $(PEERS)
	$(CARGO) build --release --locked -p container-engine --example bare_vm
	$(CARGO) build --locked -p container-bench
	CONTAINER_TEST_PREFIX=$(STAGE) CONTAINER_TEST_IMAGE=$(CURDIR)/$(BUSYBOX) KVM_CPUS=2 KVM_LIMIT=900 KVM_CHANCES=3 \
	    PATH=$(CURDIR)/$(QEMU_NEWER)/usr/bin:$$PATH tests/kvm/machine.sh $(TARGET)/kvm $(CURDIR)/$(TARGET)/debug/container-bench \
	    --bare-vm $(CURDIR)/$(TARGET)/release/examples/bare_vm --only starts --only memory --density 16 --out /run/results $(BENCH)
	CONTAINER_TEST_PREFIX=$(STAGE) CONTAINER_TEST_IMAGE=$(CURDIR)/$(BUSYBOX) KVM_CPUS=2 KVM_LIMIT=3000 KVM_CHANCES=3 KVM_DISK=8G \
	    PATH=$(CURDIR)/$(QEMU_NEWER)/usr/bin:$$PATH tests/kvm/machine.sh $(TARGET)/kvm $(CURDIR)/$(TARGET)/debug/container-bench --bare-vm /none \
	    --only peers --peers $(CURDIR)/$(PEERS) --out /run/results/peers $(BENCH)

clean:
	rm -rf $(TARGET)
