import Foundation
import TestSupport
import Testing

/// A mirror with a disk that answers with errors: clients see none, the disk is evicted and replaced.
@Suite(.serialized) struct FailingDiskTests {
  struct Case: CustomTestStringConvertible, Sendable {
    var faults: [FuseDisk.Fault]
    /// By way of a loop device, so that the pool's disk is a block device.
    var isBlockDevice = false
    var testDescription: String { "\(faults.map(\.rawValue))\(isBlockDevice ? " of a block device" : "")" }
  }

  static let cases = [Case(faults: [.writes]), Case(faults: [.reads]), Case(faults: FuseDisk.Fault.allCases)]

  @Test(.enabled(if: FuseDisk.isAvailable, "needs FUSE"), arguments: cases)
  func aFileThatFailsUnderFioIsReplaced(_ failure: Case) async throws {
    let failing = try await FuseDisk()
    try await loseUnderFio(failing, as: failing.path, failure.faults)
  }

  @Test(.enabled(if: FuseDisk.isAvailable && LoopDevice.isAvailable, "needs FUSE and loop devices"))
  func aBlockDeviceThatFailsUnderFioIsReplaced() async throws {
    let failing = try await FuseDisk()
    let loop = try LoopDevice(over: failing.path, sector: 512)
    try await loseUnderFio(failing, as: loop.path, FuseDisk.Fault.allCases)
  }

  private func loseUnderFio(_ failing: FuseDisk, as path: String, _ faults: [FuseDisk.Fault]) async throws {
    let server = try await SpaceportServer.startedQuick(repairDelay: 300)
    let good = try server.directory.sparseFile("good", byteCount: 256 << 20)
    try await server.succeed("pool", "create", "tank", path, good)
    try await server.createMirror()
    let load = FioLoad(server)
    try await load.start()
    try failing.fail(faults)
    try await server.waitForPool("degraded", health: "warning")
    #expect(load.isRunning)
    try await load.finish()
    let lost = try #require(try await server.pool().disk(path))
    #expect(lost.state == "lostCommunication" && lost.reason?.contains("Input/output error") == true, "\(lost)")
    #expect(lost.nextStep?.contains("replace") == true, "\(lost)")
    #expect(try await server.events().contains("was evicted from the pool"))

    let fresh = try server.directory.sparseFile("fresh", byteCount: 256 << 20)
    try await server.succeed("disk", "replace", path, fresh)
    try await server.succeed("job", "watch", "tank")
    try await server.waitForPool("ok", health: "healthy")
    #expect(try await server.pool().disks.map(\.path) == [good, fresh])
    try await server.expectCleanScrub()
    try await load.verify()
    try await server.stop()
  }
}
