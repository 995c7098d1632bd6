import Foundation

/// What a program that was run to its end left behind.
struct CommandResult {
  var status: Int32
  var output: String
  var errors: String
  var succeeded: Bool { status == 0 }
}

/// A program that could not be run, or did not end in time.
struct CommandFailure: Error, CustomStringConvertible {
  var description: String
}

/// Runs programs with a time limit; their output goes through files, so that no pipe can fill up and block them.
enum Command {
  static func find(_ name: String) -> String? {
    if name.contains("/") { return name }
    let path = (ProcessInfo.processInfo.environment["PATH"] ?? "") + ":/usr/sbin:/sbin"
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  static func run(
    _ arguments: [String], timeoutSeconds: Double = 120, environment: [String: String] = [:]
  ) async throws -> CommandResult {
    guard let executable = find(arguments[0]) else {
      throw CommandFailure(description: "\(arguments[0]) is not installed: run make deps")
    }
    let directory = try TemporaryDirectory()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = Array(arguments.dropFirst())
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try directory.createFile("out")
    process.standardError = try directory.createFile("err")
    try process.runWithoutBlockedSignals()
    try await waitUntil(timeoutSeconds: timeoutSeconds, "\(arguments.joined(separator: " ")) to end", onTimeout: { process.terminate() }) {
      !process.isRunning
    }
    return CommandResult(status: process.terminationStatus, output: directory.text("out"), errors: directory.text("err"))
  }
}

extension Process {
  /// A thread of Swift's pool blocks all signals, and its children would inherit that: SIGTERM would not end them.
  func runWithoutBlockedSignals() throws {
    var none = sigset_t()
    var before = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try run()
  }
}

/// Polls `condition` until it holds; throws after `timeoutSeconds`.
func waitUntil(
  timeoutSeconds: Double = 30, _ what: String, onTimeout: () -> Void = {}, _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + .seconds(timeoutSeconds)
  while try await !condition() {
    if ContinuousClock.now > deadline {
      onTimeout()
      throw CommandFailure(description: "waited \(timeoutSeconds) s for \(what)")
    }
    try await Task.sleep(for: .milliseconds(5))
  }
}

/// A directory that is removed with its last reference.
final class TemporaryDirectory: Sendable {
  let path: String

  /// On the disk's file system, not on tmpfs: O_DIRECT and fallocate are to be the real ones. Short, for the paths of sockets.
  init() throws {
    path = "/var/tmp/spaceport-\(UUID().uuidString.prefix(13))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func createFile(_ name: String) throws -> FileHandle {
    _ = FileManager.default.createFile(atPath: file(name), contents: nil)
    guard let handle = FileHandle(forWritingAtPath: file(name)) else { throw CommandFailure(description: "cannot create \(file(name))") }
    return handle
  }

  func text(_ name: String) -> String {
    guard let data = FileManager.default.contents(atPath: file(name)) else { return "" }
    return String(decoding: data, as: UTF8.self)
  }

  /// A sparse file; its path.
  func sparseFile(_ name: String, byteCount: UInt64) throws -> String {
    let handle = try createFile(name)
    try handle.truncate(atOffset: byteCount)
    try handle.close()
    return file(name)
  }
}
