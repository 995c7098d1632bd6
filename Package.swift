// swift-tools-version: 6.2
// The folders under Sources/ are the stack, top to bottom: README.md shows it as a picture.
import PackageDescription

/// With SPACEPORT_CORE=1 in the environment the management plane (Hummingbird, the command line) is left out: what remains builds in a
/// minute and is what unit tests, sanitizers and fuzzers need.
let coreOnly = Context.environment["SPACEPORT_CORE"] != nil

let swiftSettings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableUpcomingFeature("ExistentialAny"),
]

/// A layer of the stack: a target named after its folder.
func layer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

var packages: [Package.Dependency] = [
  .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
  .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
]

var targets: [Target] = [
  // The stack, from the clients down.
  layer("NBDServer", ["BlockDevice", "CLinux", "CTLS", deque, logging]),
  layer("Volume", ["BlockDevice", "CLinux", "PartitionTable"]),
  layer("PartitionTable", []),
  layer("VirtualDisk", ["Resiliency", "Pool"]),
  layer("Resiliency", ["Pool"]),
  layer("Pool", ["StorageBus", "BlockDevice", "CLinux", "PartitionTable"]),
  layer("StorageBus", ["BlockDevice", deque]),
  layer("PhysicalDisk", ["BlockDevice", "CLinux"]),
  layer("BlockDevice", ["Reactor", histogram, deque]),
  layer("Reactor", ["CLinux", heap, deque]),
  .target(name: "CLinux", linkerSettings: [.linkedLibrary("uring"), .linkedLibrary("blkid")]),
  .systemLibrary(name: "CGnuTLS", pkgConfig: "gnutls"),
  .target(name: "CTLS", dependencies: ["CGnuTLS"]),
  // Beside it.
  layer("Systemd", ["CLinux"]),
  layer("Simulation", ["PhysicalDisk", "CLinux"]),
  layer("SimulatedPool", ["VirtualDisk", "Resiliency", "Pool", "StorageBus", "PhysicalDisk", "Simulation", "CLinux"]),
  .executableTarget(name: "spaceport-sim", dependencies: ["SimulatedPool", "CLinux"], swiftSettings: swiftSettings),
  .executableTarget(
    name: "nbd-memory", dependencies: ["NBDServer"], path: "Tests/Tools/NBDMemory", swiftSettings: swiftSettings),
  .executableTarget(
    name: "confined", dependencies: ["Volume", "CLinux"], path: "Tests/Tools/Confined", swiftSettings: swiftSettings),
  .executableTarget(
    name: "large-pool", dependencies: ["VirtualDisk", "Pool", "StorageBus", "PhysicalDisk", "CLinux"], path: "Tests/Tools/LargePool",
    swiftSettings: swiftSettings),

  .target(name: "TestSupport", path: "Tests/Support", swiftSettings: swiftSettings),
  tests("NBDServerTests", ["NBDServer", "CLinux", "CGnuTLS", logging, "TestSupport"]),
  tests("SystemdTests", ["Systemd", "CLinux"]),
  tests("PartitionTableTests", ["PartitionTable", "TestSupport"]),
  tests("PoolTests", ["Pool", "Simulation", "CLinux"]),
  tests("StorageBusTests", ["StorageBus", "BlockDevice", "PhysicalDisk", "Reactor", "Simulation"]),
  tests("VolumeTests", ["Volume", "BlockDevice", "CLinux", "PartitionTable", "PhysicalDisk", "Simulation", "TestSupport", "confined"]),
  tests("ResiliencyTests", ["Resiliency"]),
  tests("VirtualDiskTests", ["VirtualDisk", "Resiliency", "StorageBus", "PhysicalDisk", "Simulation", "SimulatedPool"]),
  tests("SimulatedPoolTests", ["SimulatedPool", "Simulation", "BlockDevice", "spaceport-sim", "TestSupport"]),
  tests("PhysicalDiskTests", ["PhysicalDisk", "CLinux", "TestSupport"]),
  tests("BlockDeviceTests", ["BlockDevice"]),
  tests("ReactorTests", ["Reactor", "CLinux"]),
  tests("SimulationTests", ["Simulation", "CLinux"]),
  // These drive the release binary.
  .testTarget(name: "IntegrationTests", dependencies: ["TestSupport"], exclude: ["Clients"], swiftSettings: swiftSettings),
]

if !coreOnly {
  packages += [
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ]
  let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
  let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
  let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
  // Not a data path: the management plane keeps Swift's usual isolation, as its libraries expect.
  let managementSettings: [SwiftSetting] = [.swiftLanguageMode(.v6)]
  targets += [
    .target(
      name: "Management",
      dependencies: [
        .product(name: "HTTPTypes", package: "swift-http-types"), .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"), logging, nioCore,
        .product(name: "NIOPosix", package: "swift-nio"), nioHTTP1,
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: managementSettings),
    layer(
      "Service",
      ["Management", "NBDServer", "Volume", "PartitionTable", "VirtualDisk", "Resiliency", "Pool", "StorageBus", "PhysicalDisk", logging]),
    // Block devices of this machine, for commands; the server is none of their users.
    .systemLibrary(name: "CNetlink", pkgConfig: "libnl-genl-3.0"),
    .target(name: "CAttach", dependencies: ["CNetlink"]),
    .target(name: "Attachment", dependencies: ["CAttach", "CLinux", "Management", "NBDServer"], swiftSettings: managementSettings),
    .executableTarget(
      name: "spaceport",
      dependencies: [
        "Service", "Management", "NBDServer", "StorageBus", "Systemd", "Volume", "Attachment", argumentParser, logging,
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ],
      swiftSettings: managementSettings),
    .testTarget(
      name: "ManagementTests",
      dependencies: [
        "Attachment", "Management", "NBDServer", "Service", "spaceport", "TestSupport", argumentParser, logging, nioCore, nioHTTP1,
      ],
      swiftSettings: managementSettings),
  ]
}

/// With SPACEPORT_FUZZ=1 there is the fuzzer too: it is linked with libFuzzer, so that it can only be built for it (see Tests/Fuzz/run.sh).
if Context.environment["SPACEPORT_FUZZ"] != nil {
  targets.append(
    .executableTarget(
      name: "spaceport-fuzz",
      dependencies: ["NBDServer", "PartitionTable", "Pool", "StorageBus", "BlockDevice", "Reactor", "Simulation", "CLinux", logging],
      path: "Tests/Fuzz", exclude: ["corpus", "make_corpus.py", "run.sh"], swiftSettings: swiftSettings))
}

let package = Package(name: "spaceport", dependencies: packages, targets: targets)
