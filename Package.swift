// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "spaceport",
  targets: [
    .target(name: "PartitionTable"),
    .testTarget(name: "PartitionTableTests", dependencies: ["PartitionTable"]),
  ],
  swiftLanguageModes: [.v6]
)
