import Foundation
import PartitionTable
import Testing

/// Runs the partition tools of other people.
enum Tools {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Runs a tool found in the usual places and returns what it printed. A tool that is missing or fails is an error: what these tests
  /// prove cannot be proved without.
  @discardableResult
  static func run(_ name: String, _ arguments: [String], input: String? = nil) throws -> String {
    let outcome = try attempt(name, arguments, input: input)
    guard outcome.status == 0 else {
      throw Failure(description: "\(name) \(arguments.joined(separator: " ")) ended with \(outcome.status): \(outcome.output)")
    }
    return outcome.output
  }

  static func attempt(_ name: String, _ arguments: [String], input: String? = nil) throws -> (status: Int32, output: String) {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map { "\($0)/\(name)" }
    guard let path = places.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
      throw Failure(description: "\(name) is not installed: install the packages gdisk, fdisk and parted")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    // The messages that are compared are English.
    process.environment = ["LC_ALL": "C", "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"]
    let output = Pipe()
    let feed = Pipe()
    process.standardOutput = output
    process.standardError = output
    process.standardInput = feed
    try process.run()
    try feed.fileHandleForWriting.write(contentsOf: Data((input ?? "").utf8))
    try feed.fileHandleForWriting.close()
    let data = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }
}

/// A sparse file in the temporary folder that goes away with the value's last reference.
final class TemporaryImage {
  let path: String
  let byteCount: UInt64

  init(byteCount: UInt64) throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("partition-\(UUID().uuidString).img").path
    self.byteCount = byteCount
    guard FileManager.default.createFile(atPath: path, contents: nil) else {
      throw Tools.Failure(description: "cannot create \(path)")
    }
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try handle.truncate(atOffset: byteCount)
    try handle.close()
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// A file or block device by its path.
struct DiskPath {
  var path: String
  var byteCount: UInt64
  var sectorSize: SectorSize

  func write(_ writes: [DiskWrite]) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    for write in writes {
      try handle.seek(toOffset: write.offsetBytes)
      try handle.write(contentsOf: Data(write.bytes))
    }
    try handle.synchronize()
    try handle.close()
  }

  func scan() throws -> PartitionTableScan {
    let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    defer { try? handle.close() }
    return try PartitionTableScan.scan(diskByteCount: byteCount, sectorSize: sectorSize) { range throws(any Error) in
      try handle.seek(toOffset: range.offsetBytes)
      return try handle.read(upToCount: range.byteCount).map { [UInt8]($0) }
    }
  }

  /// Runs the body on a disk of this size: a file for 512-byte sectors, a loop device for 4096. Returns false, and says so aloud, where
  /// there is no loop device to be had.
  static func withDisk(byteCount: UInt64, sectorSize: SectorSize, body: (DiskPath) throws -> Void) throws -> Bool {
    let image = try TemporaryImage(byteCount: byteCount)
    return try withExtendedLifetime(image) {
      guard sectorSize == .bytes4096 else {
        try body(DiskPath(path: image.path, byteCount: byteCount, sectorSize: sectorSize))
        return true
      }
      let arguments = ["--sector-size", "4096", "--find", "--show", image.path]
      var outcome = try Tools.attempt("losetup", arguments)
      // Another process may take the device between finding and claiming it.
      for _ in 0..<5 where outcome.status != 0 && outcome.output.contains("busy") { outcome = try Tools.attempt("losetup", arguments) }
      guard outcome.status == 0 else {
        print("NOT TESTED: 4096-byte sectors against sgdisk and sfdisk, no loop device here: \(outcome.output)")
        return false
      }
      let device = outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
      defer { _ = try? Tools.attempt("losetup", ["--detach", device]) }
      try body(DiskPath(path: device, byteCount: byteCount, sectorSize: sectorSize))
      return true
    }
  }
}

/// What `sfdisk --json` prints.
struct SfdiskTable: Decodable {
  struct Partition: Decodable {
    var node: String
    var start: UInt64
    var size: UInt64
    var type: String
    var uuid: String?
    var name: String?
    var attrs: String?
    var bootable: Bool?
  }
  var label: String
  var id: String
  var firstlba: UInt64?
  var lastlba: UInt64?
  var sectorsize: Int?
  var partitions: [Partition]?

  static func read(_ path: String) throws -> SfdiskTable {
    struct Document: Decodable { var partitiontable: SfdiskTable }
    let text = try Tools.run("sfdisk", ["--json", path])
    return try JSONDecoder().decode(Document.self, from: Data(text.utf8)).partitiontable
  }

  /// The number at the end of a partition's node, behind the disk's own path.
  static func number(_ partition: Partition, path: String) -> Int? {
    let suffix = partition.node.dropFirst(path.count)
    return Int(suffix.hasPrefix("p") ? suffix.dropFirst() : suffix)
  }
}

/// A line of `sgdisk -p`.
struct SgdiskLine: Equatable {
  var number: Int
  var first: UInt64
  var last: UInt64
  var code: String
  var name: String

  static func read(_ path: String) throws -> [SgdiskLine] {
    let text = try Tools.run("sgdisk", ["-p", path])
    guard let header = text.range(of: "Number  Start") else { throw Tools.Failure(description: text) }
    return text[header.upperBound...].split(separator: "\n").dropFirst().compactMap { line in
      let words = line.split(separator: " ", maxSplits: 6, omittingEmptySubsequences: true)
      guard words.count >= 6, let number = Int(words[0]), let first = UInt64(words[1]), let last = UInt64(words[2]) else { return nil }
      let name = words.count > 6 ? words[6].trimmingCharacters(in: .whitespaces) : ""
      return SgdiskLine(number: number, first: first, last: last, code: String(words[5]), name: name)
    }
  }
}
