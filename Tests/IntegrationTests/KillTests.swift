import Foundation
import Testing

/// The server is killed in the middle of writes; what was flushed must be there.
@Suite(.serialized) struct KillTests {
  static let writer = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/flushed_writes.py").path

  @Test func twentyKillsLoseNothingThatWasFlushed() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let log = server.directory.file("writes")
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    for round in 1...20 {
      let writer = Process()
      writer.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
      writer.arguments = [KillTests.writer, "write", server.uri("tank/disk"), log, "\(round)"]
      try writer.runWithoutBlockedSignals()
      // Killed at another point each round: once so many more lines (writes, flushes) have been logged.
      let before = KillTests.lineCount(log)
      let wanted = before + 40 + (round * 37) % 300
      try await waitUntil("the writer to have written") {
        guard writer.isRunning else { throw CommandFailure(description: "the writer ended by itself: \(server.log)") }
        return KillTests.lineCount(log) >= wanted
      }
      try await server.end(SIGKILL)
      try await waitUntil("the writer to see that the server is gone") { !writer.isRunning }
      #expect(writer.terminationStatus == 0)
      try await server.start()
      let check = try await Command.run(["/usr/bin/python3", KillTests.writer, "check", server.uri("tank/disk"), log])
      try #require(check.succeeded, "round \(round): \(check.errors)")
    }
    #expect(KillTests.lineCount(log) > 1000)
    try await server.stop()
  }

  static func lineCount(_ path: String) -> Int {
    guard let data = FileManager.default.contents(atPath: path) else { return 0 }
    return data.reduce(0) { $0 + ($1 == 0x0A ? 1 : 0) }
  }
}
