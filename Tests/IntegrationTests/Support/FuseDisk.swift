import Foundation
import TestSupport
import Testing

/// A file that fails, hangs or is slow on demand: nbdkit serves a sparse file through its filters, nbdfuse mounts that as a file. It stands in for
/// a bad disk on any machine that has /dev/fuse.
final class FuseDisk: @unchecked Sendable {  // used by one test, one call at a time
  enum Fault: String, CaseIterable {
    case reads, writes, zeroes, trims
  }

  /// What a pool is given.
  let path: String
  private let directory: TemporaryDirectory
  private let nbdkit = Process()
  private let nbdfuse = Process()

  init(byteCount: UInt64 = 256 << 20) async throws {
    directory = try TemporaryDirectory()
    path = directory.file("disk")
    let backing = try directory.sparseFile("backing", byteCount: byteCount)
    let socket = directory.file("sock")
    // A mount point that is a file; its content does not matter.
    try directory.createFile("disk").close()
    var arguments = ["--foreground", "--unix", socket, "--filter=error", "--filter=rate", "file", backing, "rate-file=\(rateFile)"]
    for (fault, request) in [(Fault.reads, "pread"), (.writes, "pwrite"), (.zeroes, "zero"), (.trims, "trim")] {
      arguments += ["error-\(request)=EIO", "error-\(request)-rate=100%", "error-\(request)-file=\(trigger(fault))"]
    }
    try start(nbdkit, "nbdkit", arguments)
    try await waitUntil("nbdkit to serve: \(log)") {
      try self.checkRunning(self.nbdkit)
      return FileManager.default.fileExists(atPath: socket)
    }
    try start(nbdfuse, "nbdfuse", [path, "--unix", socket])
    try await waitUntil("nbdfuse to mount: \(log)") {
      try self.checkRunning(self.nbdfuse)
      let attributes = try? FileManager.default.attributesOfItem(atPath: self.path)
      return attributes?[.size] as? UInt64 == byteCount
    }
  }

  deinit {
    for process in [nbdkit, nbdfuse] where process.isRunning { kill(process.processIdentifier, SIGCONT) }
    // Lazily: a server that a test left running may have it open.
    _ = try? Program.runBlocking(["umount", "--lazy", path])
    for process in [nbdfuse, nbdkit] where process.isRunning { kill(process.processIdentifier, SIGKILL) }
  }

  // MARK: Trouble

  /// From now on such requests are answered with EIO.
  func fail(_ faults: [Fault]) throws {
    for fault in faults { try directory.createFile("fail-\(fault)").close() }
  }

  func recover() {
    for fault in Fault.allCases { try? FileManager.default.removeItem(atPath: trigger(fault)) }
  }

  /// From soon on the disk writes, and reads, so many MiB a second.
  func limit(toMebibytesPerSecond rate: Int) throws {
    let next = rateFile + "-next"
    try "\(rate * 8 << 20)\n".write(toFile: next, atomically: false, encoding: .utf8)
    try #require(rename(next, rateFile) == 0)
  }

  /// Nothing is answered any more, until `resume`. With `alsoAttributes` not even stat(2) is.
  func hang(alsoAttributes: Bool = false) {
    for process in alsoAttributes ? [nbdfuse, nbdkit] : [nbdkit] { kill(process.processIdentifier, SIGSTOP) }
  }

  func resume() {
    for process in [nbdkit, nbdfuse] { kill(process.processIdentifier, SIGCONT) }
  }

  // MARK: Processes

  private func trigger(_ fault: Fault) -> String { directory.file("fail-\(fault)") }
  private var rateFile: String { directory.file("rate") }
  private var log: String { directory.text("nbdkit-log") + directory.text("nbdfuse-log") }

  private func start(_ process: Process, _ name: String, _ arguments: [String]) throws {
    guard let executable = Program.find(name) else { throw ProgramFailure(description: "\(name) is not installed: run make deps") }
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    let log = try directory.createFile("\(name)-log")
    process.standardOutput = log
    process.standardError = log
    try process.runWithoutBlockedSignals()
  }

  private func checkRunning(_ process: Process) throws {
    if process.hasEnded { throw ProgramFailure(description: "\(process.executableURL?.lastPathComponent ?? "") ended: \(log)") }
  }

  /// Whether this machine lets us mount files. Where it does not the reason is printed, since a skipped test is easily overlooked.
  static let isAvailable: Bool = {
    guard FileManager.default.isWritableFile(atPath: "/dev/fuse") else {
      print("SKIPPED: tests on disks that fail, because there is no /dev/fuse to write to")
      return false
    }
    guard getuid() == 0 || Program.find("fusermount3") != nil && FileManager.default.isExecutableFile(atPath: "/usr/bin/fusermount3") else {
      print("SKIPPED: tests on disks that fail, because only root can mount without fusermount3 (package fuse3)")
      return false
    }
    return true
  }()
}
