import Foundation
import TestSupport
import Testing

/// Clients/partitions.py: a client that has a partition open and uses it until it is sent away.
final class PartitionHolder {
  private let server: SpaceportServer
  private let logName: String
  private let process = Process()

  /// Connects, and returns once it reads and writes.
  init(_ server: SpaceportServer, export: String) async throws {
    self.server = server
    logName = "holder-\(UUID().uuidString.prefix(8))"
    process.executableURL = URL(fileURLWithPath: PartitionClient.python)
    process.arguments = [PartitionClient.script, "hold", server.uri(export), server.directory.file(logName)]
    process.standardError = try server.directory.createFile(logName + "-errors")
    try process.runWithoutBlockedSignals()
    try await waitForRounds(3)
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  var log: String { server.directory.text(logName) }
  var rounds: Int { log.split(separator: "\n").count { $0.hasPrefix("round") } }

  /// So many more than there are.
  func waitForRounds(_ count: Int) async throws {
    let wanted = rounds + count
    try await waitUntil("a client to use its partition") {
      if self.process.hasEnded {
        throw ProgramFailure(description: "the client ended: \(self.log)\(self.server.directory.text(self.logName + "-errors"))")
      }
      return self.rounds >= wanted
    }
  }

  /// Waits until it was sent away: requests fail with ESHUTDOWN, if any did, and then the connection ends.
  func waitUntilSentAway() async throws {
    try await waitUntil("the client to be sent away") { self.process.hasEnded }
    let lines = log.split(separator: "\n")
    #expect(lines.last == "ended", "\(log.suffix(300))")
    let failures = lines.filter { $0.hasPrefix("failed") }
    #expect(failures.dropLast().allSatisfy { $0 == "failed ESHUTDOWN" }, "\(failures)")
  }

  /// It stays connected and does nothing any more.
  func pause() {
    kill(process.processIdentifier, SIGSTOP)
  }

  /// Ends the client.
  func leave() async throws {
    kill(process.processIdentifier, SIGKILL)
    try await waitUntil("the client to end") { !self.process.isRunning }
  }
}

enum PartitionClient {
  static let python = "/usr/bin/python3"
  static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Clients/partitions.py").path

  /// Runs a tool on a file that looks like the virtual disk, and writes what it did to the table through the whole disk's export, sector by
  /// sector.
  static func change(_ disk: String, of server: SpaceportServer, by tool: [String], input: String? = nil) async throws {
    let image = try await fetch(disk, of: server)
    let result = try await Program.run(tool + [image], input: input)
    try #require(result.succeeded, "\(tool): \(result.text)")
    try await succeed(python, script, "table", image, server.uri(disk))
  }

  /// A sparse file with the disk's table in its places; removed by the next.
  static func fetch(_ disk: String, of server: SpaceportServer) async throws -> String {
    let image = server.directory.file("table")
    try await succeed(python, script, "fetch", server.uri(disk), image)
    return image
  }
}

/// What `partition list --json` prints.
struct PartitionTableState: Decodable {
  struct Partition: Decodable {
    var number: Int
    var label: String
    var type: String
    var uuid: String?
    var firstSector: UInt64
    var lastSector: UInt64
    var sizeBytes: UInt64
    var attributes: [String]
    var exports: [String]
    var clientCount: Int
  }
  var kind: String
  var diskID: String?
  var alignmentBytes: UInt64
  var largestFreeBytes: UInt64
  var partitions: [Partition]
  var findings: [String]
}

extension SpaceportServer {
  func table(_ disk: String) async throws -> PartitionTableState {
    let text = try await succeed("partition", "list", disk, "--json")
    return try JSONDecoder().decode(PartitionTableState.self, from: Data(text.utf8))
  }
}
