import Foundation
import TestSupport
import Testing

/// fio that writes to `tank/disk` for some seconds and checks by checksums, while it writes and afterwards, that it reads what it wrote. It
/// ends badly on any error that the server lets it see.
final class FioLoad: @unchecked Sendable {  // used by one test, one call at a time
  private let server: SpaceportServer
  private let job: [String]
  private var process = Process()

  /// 3072 writes of 16 KiB over `size`, `iops` a second; blocks are written once.
  init(_ server: SpaceportServer, size: String = "48M", iops: Int = 400) {
    self.server = server
    job = [
      "--name=load", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--size=\(size)", "--rw=randwrite", "--bs=16k", "--iodepth=8",
      "--fsync=16", "--verify=crc32c", "--verify_state_save=0", "--verify_fatal=1", "--rate_iops=\(iops)",
    ]
  }

  /// Begins, and returns once data has come to every disk of the pool that takes some.
  func start() async throws {
    process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(Program.find("fio")))
    process.arguments = job + ["--thread", "--do_verify=1", "--verify_backlog=64", "--verify_backlog_batch=32"]
    process.currentDirectoryURL = URL(fileURLWithPath: server.directory.path)
    process.standardInput = FileHandle.nullDevice
    let output = try server.directory.createFile("fio")
    process.standardOutput = output
    process.standardError = output
    try process.runWithoutBlockedSignals()
    try await server.waitForPool("to have data of fio on each disk") { pool in
      pool.disks.allSatisfy { $0.usage != "auto" || $0.allocatedBytes > 4 << 20 }
    }
    try #require(isRunning, "fio ended early: \(output)")
  }

  var isRunning: Bool { !process.hasEnded }
  private var output: String { server.directory.text("fio") }

  /// Waits for its end, which must be a good one.
  func finish(timeoutSeconds: Double = 120, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    try await waitUntil(timeoutSeconds: timeoutSeconds, "fio to end: \(output)", onTimeout: process.terminate) { !self.process.isRunning }
    #expect(
      process.terminationStatus == 0, "fio saw an error: \(output)\nThe server's log: \(server.log)", sourceLocation: sourceLocation)
  }

  /// Reads everything once more.
  func verify(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let again = try await Program.run(
      ["fio"] + job.filter { !$0.hasPrefix("--rate") } + ["--verify_only=1"], directory: server.directory.path)
    #expect(again.succeeded, "fio: \(again.text)\nThe server's log: \(server.log)", sourceLocation: sourceLocation)
  }
}
