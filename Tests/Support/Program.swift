import Foundation
import Synchronization

/// What a program that was run to its end left behind.
public struct ProgramResult: Sendable {
  public var status: Int32
  public var output: String
  public var errors: String
  public var succeeded: Bool { status == 0 }
  /// What it printed on either stream.
  public var text: String { output + errors }
}

/// A program that could not be run, did not end in time, or should have succeeded.
public struct ProgramFailure: Error, CustomStringConvertible {
  public var description: String
  public init(description: String) { self.description = description }
}

/// Runs programs with a time limit; what they read and print goes through files, so that no pipe can fill up and block them. Their messages
/// are English.
public enum Program {
  public static func find(_ name: String) -> String? {
    if name.contains("/") { return name }
    let path = (ProcessInfo.processInfo.environment["PATH"] ?? "") + ":/usr/sbin:/sbin"
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  /// One that the build makes: beside the bundle of the tests, where it puts both.
  public static func built(_ name: String) -> String {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    var folder = URL(fileURLWithPath: CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? own)
    while folder.path != "/" {
      folder.deleteLastPathComponent()
      let candidate = folder.appendingPathComponent(name).path
      if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
    }
    return name
  }

  public static func run(
    _ arguments: [String], input: String? = nil, environment: [String: String] = [:], directory: String? = nil, timeoutSeconds: Double = 120
  ) async throws -> ProgramResult {
    let started = try Started(arguments, input, environment, directory)
    let words = arguments.joined(separator: " ")
    try await waitUntil(
      timeoutSeconds: timeoutSeconds, "\(words) to end\(started.process.hasEnded ? ", which it has, but Foundation was not told" : "")",
      onTimeout: started.process.terminate
    ) { !started.process.isRunning }
    return started.result
  }

  /// The same for callers that cannot wait otherwise: it blocks their thread, so only for what ends soon.
  public static func runBlocking(_ arguments: [String], input: String? = nil) throws -> ProgramResult {
    let started = try Started(arguments, input, [:], nil)
    started.process.waitUntilExit()
    return started.result
  }

  /// A program that must succeed; what it printed.
  @discardableResult
  public static func succeed(_ arguments: [String], timeoutSeconds: Double = 120) async throws -> String {
    let result = try await run(arguments, timeoutSeconds: timeoutSeconds)
    guard result.succeeded else {
      throw ProgramFailure(description: "\(arguments.joined(separator: " ")) ended with \(result.status): \(result.text)")
    }
    return result.text
  }

  /// A program under way, with the files it reads and writes.
  private struct Started {
    let process = Process()
    let directory: TemporaryDirectory

    init(_ arguments: [String], _ input: String?, _ environment: [String: String], _ workingDirectory: String?) throws {
      guard let executable = find(arguments[0]) else {
        throw ProgramFailure(description: "\(arguments[0]) is not installed: run make deps")
      }
      directory = try TemporaryDirectory()
      process.executableURL = URL(fileURLWithPath: executable)
      process.arguments = Array(arguments.dropFirst())
      process.environment = ProcessInfo.processInfo.environment.merging(["LC_ALL": "C.UTF-8"]) { $1 }.merging(environment) { $1 }
      if let workingDirectory { process.currentDirectoryURL = URL(fileURLWithPath: workingDirectory) }
      process.standardInput = FileHandle.nullDevice
      if let input {
        try Data(input.utf8).write(to: URL(fileURLWithPath: directory.file("in")))
        process.standardInput = FileHandle(forReadingAtPath: directory.file("in"))
      }
      let (output, errors) = (try directory.createFile("out"), try directory.createFile("err"))
      process.standardOutput = output
      process.standardError = errors
      try process.runWithoutBlockedSignals()
      // The child has its own; those who run many programs would run out of descriptors.
      try output.close()
      try errors.close()
    }

    var result: ProgramResult {
      ProgramResult(status: process.terminationStatus, output: directory.text("out"), errors: directory.text("err"))
    }
  }
}

/// Held while a program is started: Foundation learns of a program's end by a socket that whatever is started at the same moment inherits, and
/// would keep open until it ends itself.
private let starting = Mutex(())

extension Process {
  /// A thread of Swift's pool blocks all signals, and its children would inherit that: SIGTERM would not end them.
  public func runWithoutBlockedSignals() throws {
    var none = sigset_t()
    var before = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try starting.withLock { _ in try run() }
  }
}

extension Process {
  /// Whether it has ended, as the kernel says. `isRunning` learns of it when a socket is closed that what the program itself started may keep
  /// open.
  public var hasEnded: Bool {
    var information = siginfo_t()
    let outcome = waitid(P_PID, id_t(processIdentifier), &information, WEXITED | WNOHANG | WNOWAIT)
    return outcome == 0 ? information.si_signo == SIGCHLD : errno == ECHILD
  }
}

/// Polls `condition` until it holds; throws after `timeoutSeconds`.
public func waitUntil(
  timeoutSeconds: Double = 30, _ what: @autoclosure () -> String, onTimeout: () -> Void = {}, _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + .seconds(timeoutSeconds)
  while try await !condition() {
    if ContinuousClock.now > deadline {
      let failure = ProgramFailure(description: "waited \(timeoutSeconds) s for \(what())")
      onTimeout()
      throw failure
    }
    try await Task.sleep(for: .milliseconds(5))
  }
}
