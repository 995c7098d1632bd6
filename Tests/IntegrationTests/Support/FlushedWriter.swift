import Foundation
import TestSupport
import Testing

/// Clients/flushed_writes.py: writes to `tank/disk` until the server is gone, and says afterwards whether everything flushed is there.
final class FlushedWriter {
  private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Clients/flushed_writes.py").path
  private static let python = "/usr/bin/python3"

  private let server: SpaceportServer
  private let log: String
  private static let errorFile = "writer-errors"
  private var process = Process()

  init(_ server: SpaceportServer) {
    self.server = server
    log = server.directory.file("writes")
    _ = FileManager.default.createFile(atPath: log, contents: nil)
  }

  /// Writes and flushes that were logged so far, over all rounds.
  var lineCount: Int {
    guard let data = FileManager.default.contents(atPath: log) else { return 0 }
    return data.reduce(0) { $0 + ($1 == 0x0A ? 1 : 0) }
  }

  /// Begins to write, and returns once so many more lines are logged.
  func start(round: Int, lines: Int) async throws {
    let wanted = lineCount + lines
    process = Process()
    process.executableURL = URL(fileURLWithPath: FlushedWriter.python)
    process.arguments = [FlushedWriter.script, "write", server.uri("tank/disk"), log, "\(round)"]
    process.standardError = try server.directory.createFile(FlushedWriter.errorFile)
    try process.runWithoutBlockedSignals()
    try await waitUntil("the writer to have written") {
      if self.process.hasEnded {
        let errors = self.server.directory.text(FlushedWriter.errorFile)
        throw ProgramFailure(description: "the writer ended by itself: \(errors)\nThe server's log: \(self.server.log)")
      }
      return self.lineCount >= wanted
    }
  }

  /// Writes some lines, and ends the server in the midst of them.
  func write(round: Int, lines: Int = 200, thenEndBy signal: Int32) async throws {
    try await start(round: round, lines: lines)
    try await server.end(signal)
    try await finish()
  }

  /// Waits until the writer has seen that the server is gone.
  func finish() async throws {
    try await waitUntil("the writer to see that the server is gone") { !self.process.isRunning }
    #expect(process.terminationStatus == 0)
  }

  /// Compares the virtual disk with the log.
  func check(round: Int) async throws {
    let check = try await Program.run([FlushedWriter.python, FlushedWriter.script, "check", server.uri("tank/disk"), log])
    try #require(check.succeeded, "round \(round): \(check.errors)")
  }
}
