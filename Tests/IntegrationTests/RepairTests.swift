import Foundation
import TestSupport
import Testing

/// A repair that is cut short goes on where it was.
@Suite(.serialized) struct RepairTests {
  private static let quick = ["--disk-wait", "2", "--repair-delay", "1"]

  /// What the tests look at of `job list --json`.
  private struct Job: Decodable {
    var kind: String
    var state: String
    var percent: Double
    var doneBytes: UInt64
    var totalBytes: UInt64
  }

  /// What the tests look at of `stack --json`.
  private struct Layer: Decodable {
    struct Counters: Decodable { var bytes: UInt64 }
    var layer: String
    var label: String
    var write: Counters
    var children: [Layer]

    /// Bytes written to the slabs of the disks that stay.
    var slabBytesWritten: UInt64 {
      (layer == "Pool" && label != "tank disk 2" ? write.bytes : 0) + children.reduce(0) { $0 + $1.slabBytesWritten }
    }
  }

  private func repairJob(_ server: SpaceportServer) async throws -> Job? {
    let text = try await server.spaceport("job", "list", "tank", "--json").output
    if text.isEmpty { return nil }
    return try JSONDecoder().decode([Job].self, from: Data(text.utf8)).last { $0.kind == "repair" }
  }

  private func slabBytesWritten(_ server: SpaceportServer) async throws -> UInt64 {
    let text = try await server.succeed("stack", "tank/disk", "--json")
    return try JSONDecoder().decode([Layer].self, from: Data(text.utf8)).reduce(0) { $0 + $1.slabBytesWritten }
  }

  private func qemuIO(_ server: SpaceportServer, _ commands: String...) async throws {
    let result = try await Program.run(["qemu-io", "-f", "raw", server.uri("tank/disk")] + commands.flatMap { ["-c", $0] })
    #expect(result.succeeded && !result.output.contains("verification failed"), "\(result.text)")
  }

  /// 2048 slabs of 1 MiB in use on three disks; one is lost, and the server is killed in the middle of making its copies anew. A slow disk
  /// sees to it that there is a middle.
  @Test(.enabled(if: FuseDisk.isAvailable, "needs FUSE")) func aRepairThatWasKilledContinues() async throws {
    let server = try SpaceportServer()
    try await server.start(extraArguments: Self.quick)
    let slow = try await FuseDisk(byteCount: 1536 << 20)
    let others = try (1...2).map { try server.directory.sparseFile("disk\($0)", byteCount: 1536 << 20) }
    try await server.succeed(["pool", "create", "tank", slow.path] + others)
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "1GiB", "--provisioning", "fixed", "--resiliency", "mirror")
    try await qemuIO(server, "write -P 7 0 64M", "write -P 8 960M 64M", "flush")
    let before = try await slabBytesWritten(server)

    try slow.limit(toMebibytesPerSecond: 32)
    try FileManager.default.removeItem(atPath: others[0])
    var killed: Job?
    try await waitUntil(timeoutSeconds: 300, "the repair to be in its middle") {
      guard let job = try await self.repairJob(server), job.percent >= 20 else { return false }
      killed = job
      return true
    }
    let firstRun = try await slabBytesWritten(server) - before
    try await server.end(SIGKILL)
    try slow.limit(toMebibytesPerSecond: 4096)
    let middle = try #require(killed)
    try #require(middle.percent <= 80, "the repair was at \(middle.percent) % before anyone could look")
    let size = middle.totalBytes
    #expect((650 << 20..<720 << 20).contains(size), "a third of 2048 slabs are to be made anew, not \(size) bytes")

    try await server.start(extraArguments: Self.quick)
    var first: Job?
    try await waitUntil(timeoutSeconds: 60, "the repair to go on") {
      first = try await self.repairJob(server)
      return first.map { $0.state == "running" || $0.state == "completed" } ?? false
    }
    let resumed = try #require(first)
    // The rows in work at the kill are begun anew.
    #expect(resumed.doneBytes + (16 << 20) >= middle.doneBytes, "\(resumed.doneBytes) done after \(middle.doneBytes)")
    #expect(resumed.totalBytes <= size + (16 << 20))
    try await waitUntil(timeoutSeconds: 300, "the repair to end") {
      try await self.repairJob(server).map { $0.state == "completed" } ?? false
    }
    let written = firstRun + (try await slabBytesWritten(server))
    // Less what was written between the last look and the kill, and more by the rows that were begun anew and what the crash left to be
    // brought together.
    #expect(written > size * 8 / 10 && written < size * 14 / 10, "\(written) bytes were written to make \(size) anew")
    try await qemuIO(server, "read -P 7 0 64M", "read -P 8 960M 64M")
    try await server.expectCleanScrub()
    try await server.stop()
  }
}
