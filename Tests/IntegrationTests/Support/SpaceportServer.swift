import Foundation
import TestSupport
import Testing

/// The real server, from the release binary, in a directory of its own.
final class SpaceportServer: @unchecked Sendable {  // used by one test, one call at a time
  let directory: TemporaryDirectory
  private var process = Process()
  private var startCount = 0

  /// `SPACEPORT_BINARY`, else the release build.
  static var binary: String {
    ProcessInfo.processInfo.environment["SPACEPORT_BINARY"] ?? FileManager.default.currentDirectoryPath + "/.build/release/spaceport"
  }

  init() throws {
    directory = try TemporaryDirectory()
    guard FileManager.default.isExecutableFile(atPath: SpaceportServer.binary) else {
      throw ProgramFailure(description: "there is no \(SpaceportServer.binary): run make build")
    }
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  var controlSocket: String { directory.file("control.sock") }
  var nbdSocket: String { directory.file("nbd.sock") }
  var stateDirectory: String { directory.file("state") }
  var processID: Int32 { process.processIdentifier }
  var isRunning: Bool { process.isRunning }
  var log: String { directory.text("log-\(startCount)") }

  func uri(_ export: String) -> String { "nbd+unix:///\(export)?socket=\(nbdSocket)" }

  /// Starts the server and waits until its control socket answers.
  func start(extraArguments: [String] = [], environment: [String: String] = [:]) async throws {
    startCount += 1
    process = Process()
    process.executableURL = URL(fileURLWithPath: SpaceportServer.binary)
    process.arguments =
      ["serve", "--state-dir", stateDirectory, "--control", controlSocket, "--listen", "unix:\(nbdSocket)"] + extraArguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    let log = try directory.createFile("log-\(startCount)")
    process.standardOutput = log
    process.standardError = log
    try process.runWithoutBlockedSignals()
    try await waitUntil("the server to answer") {
      if self.process.hasEnded { throw ProgramFailure(description: "the server ended at start: \(self.log)") }
      return try await self.spaceport("pool", "list").succeeded
    }
  }

  func end(_ signal: Int32) async throws {
    kill(process.processIdentifier, signal)
    try await waitUntil("the server to end: \(log)") { !self.process.isRunning }
  }

  /// Ends it by SIGTERM; it must end well.
  func stop() async throws {
    try await end(SIGTERM)
    #expect(process.terminationReason == .exit && process.terminationStatus == 0, "the server ended badly: \(log)")
  }

  /// A command of the client.
  func spaceport(_ arguments: String...) async throws -> ProgramResult {
    try await Program.run([SpaceportServer.binary] + arguments + ["--control", controlSocket])
  }

  /// The same, that must succeed; its output.
  @discardableResult
  func succeed(_ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
    let result = try await Program.run([SpaceportServer.binary] + arguments + ["--control", controlSocket])
    try #require(result.succeeded, "\(arguments.joined(separator: " ")): \(result.errors)", sourceLocation: sourceLocation)
    return result.output
  }

  @discardableResult
  func succeed(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) async throws -> String {
    try await succeed(arguments, sourceLocation: sourceLocation)
  }

  /// The same, that must be refused: with a message on standard error that contains each of `words`.
  func refuse(_ arguments: [String], saying words: [String], sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let result = try await Program.run([SpaceportServer.binary] + arguments + ["--control", controlSocket])
    #expect(!result.succeeded, "\(arguments.joined(separator: " ")) was not refused", sourceLocation: sourceLocation)
    for word in words {
      #expect(result.errors.contains(word), "\"\(word)\" is not in: \(result.errors)", sourceLocation: sourceLocation)
    }
  }

  /// A pool `tank` on `disks` new sparse files; their paths.
  @discardableResult
  func makePool(disks: Int = 3, diskByteCount: UInt64 = 512 << 20) async throws -> [String] {
    let paths = try (1...disks).map { try directory.sparseFile("disk\($0)", byteCount: diskByteCount) }
    let result = try await Program.run(
      [SpaceportServer.binary, "pool", "create", "tank"] + paths + ["--control", controlSocket])
    try #require(result.succeeded, "pool create: \(result.errors)")
    return paths
  }

  /// Runs `body` with a started server that is stopped in order afterwards.
  static func run(_ body: (SpaceportServer) async throws -> Void) async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await body(server)
    try await server.stop()
  }
}

/// Runs a program that must succeed; its output.
@discardableResult
func succeed(_ arguments: String..., timeoutSeconds: Double = 120, sourceLocation: SourceLocation = #_sourceLocation) async throws -> String
{
  let result = try await Program.run(arguments, timeoutSeconds: timeoutSeconds)
  try #require(
    result.succeeded, "\(arguments.joined(separator: " ")) -> \(result.status): \(result.errors)\(result.output)",
    sourceLocation: sourceLocation)
  return result.output
}
