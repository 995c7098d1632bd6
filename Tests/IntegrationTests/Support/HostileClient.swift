import Foundation
import TestSupport
import Testing

/// Clients/hostile.py: one attack on a server, until it is told to stop.
final class HostileClient {
  private let directory: TemporaryDirectory
  private let attack: String
  private let process = Process()

  /// - Parameter place: `unix:PATH` or `tcp:HOST:PORT`.
  init(_ attack: String, on place: String, export: String) throws {
    directory = try TemporaryDirectory()
    self.attack = attack
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Clients/hostile.py").path
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    // More sockets than a process usually may have.
    process.arguments = ["-c", "ulimit -n $(ulimit -Hn); exec /usr/bin/python3 \"$@\"", "sh", script, attack, place, export]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try directory.createFile("output")
    process.standardError = try directory.createFile("errors")
    try process.runWithoutBlockedSignals()
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  /// It has done, at least once, what it is for.
  var isGoing: Bool { directory.text("output").hasPrefix("going\n") }

  /// Throws when it has ended by itself: the server did what it must not.
  func checkRunning() throws {
    if process.hasEnded { throw ProgramFailure(description: "\(attack) ended: \(directory.text("errors"))\(directory.text("output"))") }
  }

  /// Ends it; what it did.
  func stop() async throws -> String {
    kill(process.processIdentifier, SIGTERM)
    try await waitUntil("\(attack) to end") { !self.process.isRunning }
    try #require(process.terminationStatus == 0, "\(attack): \(directory.text("errors"))")
    return String(directory.text("output").split(separator: "\n").last ?? "")
  }
}
