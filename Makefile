# spaceport. `make help` lists what can be made.

PREFIX ?= /usr/local
SWIFT ?= swift
# Every build has a time limit: a compiler that hangs must not hang you. In the foreground, so that Ctrl-C reaches what it runs.
BUILD_TIMEOUT ?= 2400
TIMEOUT := timeout --foreground -k 10
# Without this the compiler's arguments depend on whether a terminal looks on, and `make run` after `make run > log` builds all anew.
SWIFT_FLAGS := --no-color-diagnostics
RELEASE := .build/release/spaceport

# What the toolchain is linked to: without these `swift` itself does not start.
TOOLCHAIN_PACKAGES := libncurses6 libsqlite3-0 libcurl4 libxml2
# git and ca-certificates fetch the dependencies; pkgconf tells where libnl and GnuTLS lie; libgcc and libstdc++ are what the toolchain's clang links with.
BUILD_PACKAGES := git ca-certificates binutils libc6-dev libgcc-12-dev libstdc++-12-dev liburing-dev libblkid-dev libnbd-dev libnl-genl-3-dev libgnutls28-dev pkgconf $(TOOLCHAIN_PACKAGES)
USE_PACKAGES := nbd-client fio e2fsprogs libnbd0 libgnutls30
TEST_PACKAGES := gdisk fdisk parted xfsprogs btrfs-progs dosfstools ntfs-3g gnutls-bin systemd libnbd-bin python3-libnbd nbdkit qemu-utils util-linux python3 strace \
	$(shell cat Tests/Kernel/packages.txt Tests/Bench/packages.txt 2>/dev/null | grep -v '^\#')

# Optimised, with our own invariants asserted all the same, and able to have a bug planted.
SIMULATOR := .build-sim/release/spaceport-sim
# Seconds for each target of `make fuzz`.
FUZZ_SECONDS ?= 60
# Seeds that `make sim` runs, and so does its part of `make test`: always the same, three to five minutes; and how many at the same time.
SIM_SEEDS ?= 1000
SIM_JOBS ?= $(shell nproc)

.PHONY: help deps deps-build deps-test deps-suites toolchain build run test test-unit test-asan test-tsan test-suites test-hostile test-kernel sim soak fuzz bench lint install clean

help:
	@echo 'make run          install what is missing, build, start the server with a demo pool; Ctrl-C stops it'
	@echo 'make test         build and run the tests, but for those that have a target of their own below'
	@echo 'make sim          the storage layers on simulated disks that fail, $(SIM_SEEDS) seeds'
	@echo 'make soak         the same until stopped, with other seeds each time'
	@echo 'make fuzz         coverage-guided fuzzing of what parses bytes from outside, FUZZ_SECONDS=$(FUZZ_SECONDS) each'
	@echo 'make test-unit    the unit tests of the data path, built without the management plane'
	@echo 'make test-asan    unit tests under AddressSanitizer'
	@echo 'make test-tsan    unit tests under ThreadSanitizer'
	@echo 'make build        the release binary: $(RELEASE)'
	@echo 'make test-kernel  the Linux kernel in a virtual machine uses our virtual disks'
	@echo 'make test-hostile hostile clients beside one whose data is verified'
	@echo 'make test-suites  tools and suites that no one here wrote: libnbd, nbd, qemu, nbdkit, fio'
	@echo 'make bench        fio against this server and its peers'
	@echo 'make lint         formatting rules'
	@echo 'make install      binary and systemd units under PREFIX=$(PREFIX)'
	@echo 'make deps         every package that building, using and testing needs'
	@echo 'make clean        remove what was built'

deps: deps-build deps-test

deps-build:
	@scripts/install-packages.sh $(BUILD_PACKAGES) $(USE_PACKAGES)

deps-test:
	@scripts/install-packages.sh $(TEST_PACKAGES)

# After the packages: it may be one of these that `swift` lacks.
toolchain: deps-build
	@scripts/check-toolchain.sh $(SWIFT)

build: toolchain
	$(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) -c release --static-swift-stdlib --product spaceport

run: build
	scripts/run-demo.sh $(RELEASE)

# Unit tests are built for debugging, where our own invariants are asserted. The integration tests drive the release binary; they run
# apart, because they wait for programs with time limits while the simulator's tests keep every core busy. The packages come first: what
# asks for a password must not do so after a long build.
test: toolchain deps-test build sim
	python3 -m unittest discover -s Tests/Bench
	$(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) --build-tests
	$(TIMEOUT) 1200 $(SWIFT) test $(SWIFT_FLAGS) --skip-build --skip IntegrationTests --skip ManagementTests \
		--skip VirtualDiskTests --skip SimulatedPoolTests
	$(TIMEOUT) 1200 $(SWIFT) test $(SWIFT_FLAGS) --skip-build --filter VirtualDiskTests
	SPACEPORT_SIMULATOR=$(CURDIR)/$(SIMULATOR) $(TIMEOUT) 1800 $(SWIFT) test $(SWIFT_FLAGS) --skip-build --filter SimulatedPoolTests
	$(TIMEOUT) 600 $(SWIFT) test $(SWIFT_FLAGS) --skip-build --filter ManagementTests
	SPACEPORT_BINARY=$(CURDIR)/$(RELEASE) $(TIMEOUT) 1500 $(SWIFT) test $(SWIFT_FLAGS) --skip-build --filter IntegrationTests \
		--skip HostileClientTests

# Everything but the management plane and the real server: builds in a minute.
test-unit: toolchain
	SPACEPORT_CORE=1 $(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) test $(SWIFT_FLAGS) --scratch-path .build-core --skip IntegrationTests

# The unit tests of the data path under the compiler's sanitizers, each built in a directory of its own. Left out: SimulatedPoolTests and
# VirtualDiskTests, which run everything on one thread over simulated disks (no races to find), for many minutes without a sanitizer already;
# GoalTests, which measure; theProcessIsConfined and aLargeDirectoryTakesNoMemoryBeforeItIsUsed, whose limits of memory are too
# little for a sanitizer's own; ManagementTests and IntegrationTests, which are not in this build or drive the release binary. One test at a
# time: many, slow as they are then, keep each other from the threads that they wait for.
SANITIZED := $(SWIFT) test $(SWIFT_FLAGS) --disable-xctest --no-parallel --skip IntegrationTests --skip SimulatedPoolTests --skip VirtualDiskTests \
	--skip GoalTests --skip theProcessIsConfined --skip aLargeDirectoryTakesNoMemoryBeforeItIsUsed
SANITIZED_TIMEOUT ?= 3600

# Leaks are not looked for here: XCTest and Foundation's reading of files leak by themselves, and a reactor that a test has stopped keeps for ever
# what its sleeping tasks hold. `make fuzz` counts what is left behind, on a reactor that goes on.
test-asan: toolchain deps-test
	SPACEPORT_CORE=1 $(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) --scratch-path .build-asan --sanitize=address --build-tests
	SPACEPORT_CORE=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 $(TIMEOUT) $(SANITIZED_TIMEOUT) $(SANITIZED) --scratch-path .build-asan --sanitize=address --skip-build

# The kernel's side of a ring is not seen: what it writes is handed over by the ring's own atomics, in liburing. Left out as well: the longest of the
# tests that run on one thread, over a simulated reactor or none; a race needs two, and the sanitizer makes hours of their minutes.
ONE_THREAD := FairnessTests CacheDiskShareTests CacheRaceTests CacheDiskRaceTests MetadataCrashTests MetadataDamageTests MetadataFuzzTests \
	MembershipRandomTests TableCrashTests CrashSweepTests
test-tsan: toolchain deps-test
	SPACEPORT_CORE=1 $(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) --scratch-path .build-tsan --sanitize=thread --build-tests
	SPACEPORT_CORE=1 TSAN_OPTIONS=allocator_may_return_null=1:halt_on_error=0:suppressions=$(CURDIR)/Tests/Sanitizers/tsan-suppressions.txt \
		$(TIMEOUT) $(SANITIZED_TIMEOUT) $(SANITIZED) $(ONE_THREAD:%=--skip %) --scratch-path .build-tsan --sanitize=thread --skip-build

# What a failure prints is all that is needed to repeat it.
$(SIMULATOR): toolchain
	SPACEPORT_CORE=1 $(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) -c release --static-swift-stdlib --scratch-path .build-sim \
		--product spaceport-sim -Xswiftc -assert-config -Xswiftc Debug -Xswiftc -DPLANTED_BUGS
.PHONY: $(SIMULATOR)

sim: $(SIMULATOR)
	$(TIMEOUT) 1800 $(SIMULATOR) --seeds 1..$(SIM_SEEDS) --jobs $(SIM_JOBS)
	$(SIMULATOR) --exhaustive --seed 1

soak: $(SIMULATOR)
	$(SIMULATOR) --seconds 0 --jobs $(SIM_JOBS)

fuzz: toolchain
	SWIFT=$(SWIFT) BUILD_TIMEOUT=$(BUILD_TIMEOUT) Tests/Fuzz/run.sh $(FUZZ_SECONDS)

# What nbd's and libnbd's own tests are built with; their sources are fetched as the suites run.
deps-suites: deps-test
	@scripts/install-packages.sh gcc libc6-dev make libnbd-dev libglib2.0-dev libgnutls28-dev pkgconf bison flex dpkg-dev xz-utils

# Hostile clients beside one that behaves: they want a machine that is not busy, and minutes.
test-hostile: toolchain deps-test build
	$(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) --build-tests
	SPACEPORT_BINARY=$(CURDIR)/$(RELEASE) $(TIMEOUT) 900 $(SWIFT) test $(SWIFT_FLAGS) --skip-build --filter HostileClientTests

test-suites: toolchain deps-suites build
	Tests/Suites/run.sh $(RELEASE)

test-kernel: toolchain deps-test build
	Tests/Kernel/run.sh --spaceport $(RELEASE)

bench: toolchain deps-test build
	$(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) build $(SWIFT_FLAGS) -c release --static-swift-stdlib --product large-pool
	Tests/Bench/bench.py --spaceport $(RELEASE) $(BENCH_FLAGS)
	Tests/Bench/resiliency.py --spaceport $(RELEASE)
	SPACEPORT_LONG_TRACES=1 SPACEPORT_LONG_RACES=1 $(TIMEOUT) $(BUILD_TIMEOUT) $(SWIFT) test $(SWIFT_FLAGS) --filter 'GoalTests|RaceTests'
	Tests/Bench/cache.py --spaceport $(RELEASE) --check-bars
	Tests/Bench/opening.py --spaceport $(RELEASE) --tool .build/release/large-pool

lint: toolchain
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests
	@for script in scripts/*.sh .ci/run $$(find Tests -name '*.sh'); do bash -n $$script || exit 1; done

# It writes nothing but where it installs: the tree may be another user's, or another `make install` be at work in it.
install: UNITS = $(DESTDIR)/etc/systemd/system
install:
	@test -x $(RELEASE) || { echo 'Nothing to install yet. Run `make build` first, as yourself.' >&2; exit 1; }
	install -D -m 755 $(RELEASE) $(DESTDIR)$(PREFIX)/bin/spaceport
	install -D -m 644 systemd/spaceport.service.in $(UNITS)/spaceport.service
	install -D -m 644 systemd/spaceport.socket $(UNITS)/spaceport.socket
	install -D -m 644 systemd/spaceport-attach@.service.in $(UNITS)/spaceport-attach@.service
	sed -i 's|@PREFIX@|$(PREFIX)|g' $(UNITS)/spaceport.service $(UNITS)/spaceport-attach@.service
	install -D -m 644 docs/man/spaceport.1 $(DESTDIR)$(PREFIX)/share/man/man1/spaceport.1
	@echo 'Start it with: systemctl daemon-reload && systemctl enable --now spaceport'

clean:
	rm -rf .build .build-*
