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
  .target(
    name: "CLinux",
    linkerSettings: [.linkedLibrary("uring"), .linkedLibrary("blkid")]),
  layer("Reactor", ["CLinux", heap, deque]),
  layer("BlockDevice", ["Reactor", histogram, deque]),
  layer("PhysicalDisk", ["BlockDevice", "CLinux"]),
  layer("Pool", ["BlockDevice", "Reactor", "CLinux"]),
  tests("ReactorTests", ["Reactor", "CLinux"]),
  tests("BlockDeviceTests", ["BlockDevice"]),
  tests("PoolTests", ["Pool", "BlockDevice", "Reactor"]),
]

let package = Package(name: "spaceport", dependencies: packages, targets: targets)
