import Foundation
import PartitionTable
import TestSupport
import Testing

/// Runs the partition tools of other people.
enum Tools {
  /// What a tool printed. One that is missing or fails is an error: what these tests prove cannot be proved without.
  @discardableResult
  static func run(_ name: String, _ arguments: [String], input: String? = nil) throws -> String {
    let result = try Program.runBlocking([name] + arguments, input: input)
    guard result.succeeded else {
      throw ProgramFailure(description: "\(name) \(arguments.joined(separator: " ")) ended with \(result.status): \(result.text)")
    }
    return result.text
  }
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

  /// The sector sizes that this machine has disks of: files serve for 512 bytes, and loop devices for 4096.
  static let testableSectorSizes: [SectorSize] = LoopDevice.isAvailable ? SectorSize.allCases : [.bytes512]

  /// Runs the body on a disk of this size.
  static func withDisk(byteCount: UInt64, sectorSize: SectorSize, body: (DiskPath) throws -> Void) throws {
    switch sectorSize {
    case .bytes512:
      let directory = try TemporaryDirectory()
      let path = try directory.sparseFile(byteCount: byteCount)
      try withExtendedLifetime(directory) { try body(DiskPath(path: path, byteCount: byteCount, sectorSize: sectorSize)) }
    case .bytes4096:
      let loop = try LoopDevice(sector: 4096, byteCount: byteCount)
      try withExtendedLifetime(loop) { try body(DiskPath(path: loop.path, byteCount: byteCount, sectorSize: sectorSize)) }
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
    guard let header = text.range(of: "Number  Start") else { throw ProgramFailure(description: text) }
    return text[header.upperBound...].split(separator: "\n").dropFirst().compactMap { line in
      let words = line.split(separator: " ", maxSplits: 6, omittingEmptySubsequences: true)
      guard words.count >= 6, let number = Int(words[0]), let first = UInt64(words[1]), let last = UInt64(words[2]) else { return nil }
      let name = words.count > 6 ? words[6].trimmingCharacters(in: .whitespaces) : ""
      return SgdiskLine(number: number, first: first, last: last, code: String(words[5]), name: name)
    }
  }
}
