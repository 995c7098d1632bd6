import CLinux
import Glibc
import TestSupport
import Testing

/// A real file whose every request hangs on demand: nbdkit's disk in memory mounted by nbdfuse, which is stopped and let go on.
final class HangingFile: @unchecked Sendable {  // its stream is closed by deinit alone
  let path: String
  private let directory: TemporaryDirectory
  private let stream: UnsafeMutablePointer<FILE>
  private let processID: Int32

  struct Unavailable: Error, CustomStringConvertible {
    var description: String
  }

  init(byteCount: Int = 64 << 20) throws {
    directory = try TemporaryDirectory()
    path = "\(directory.path)/mount/disk"
    try #require(mkdir("\(directory.path)/mount", 0o700) == 0)
    let log = "\(directory.path)/log"
    let line =
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin; echo $$; exec nbdfuse \(path) --command nbdkit -s --exit-with-parent memory \(byteCount) >\(log) 2>&1"
    stream = try #require(popen(line, "re"))
    var said = [CChar](repeating: 0, count: 64)
    try #require(fgets(&said, 64, stream) != nil)
    processID = try #require(Int32(String(decoding: said.prefix { $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)))
    var status = stat()
    for _ in 0..<200 {
      if stat(path, &status) == 0 && Int(status.st_size) == byteCount { return }
      if kill(processID, 0) != 0 { break }
      usleep(20_000)
    }
    throw Unavailable(description: (try? Program.runBlocking(["cat", log]).output) ?? "nbdfuse does not start")
  }

  deinit {
    goOn()
    _ = try? Program.runBlocking(["umount", "--lazy", "\(directory.path)/mount"])
    pclose(stream)  // nbdfuse ends with its mount
  }

  /// Returns when every thread of the server has stopped. Without a program's help: starting one closes its copy of our descriptors, for which
  /// the kernel asks the server that has just stopped.
  func hang() throws {
    kill(processID, SIGSTOP)
    for _ in 0..<200 {
      if hasStopped { return }
      usleep(10_000)
    }
    throw Unavailable(description: "nbdfuse does not stop")
  }

  private var hasStopped: Bool {
    guard let threads = opendir("/proc/\(processID)/task") else { return false }
    defer { closedir(threads) }
    while let entry = readdir(threads) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if !name.hasPrefix("."), !isStopped(thread: name) { return false }
    }
    return true
  }

  private func isStopped(thread: String) -> Bool {
    let descriptor = clinux_open("/proc/\(processID)/task/\(thread)/stat", O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var text = [UInt8](repeating: 0, count: 512)
    let count = read(descriptor, &text, text.count)
    return count > 0 && String(decoding: text[..<count], as: UTF8.self).contains(") T ")
  }

  func goOn() { kill(processID, SIGCONT) }

  /// Why this machine has none for us; nil when it does. Printed, since a skipped test is easily overlooked.
  static let obstacle: String? = {
    do {
      _ = try HangingFile(byteCount: 1 << 20)
      return nil
    } catch {
      let reason = "SKIPPED: tests on a real file that hangs, because nbdfuse with nbdkit does not work here: \(error)"
      print(reason)
      return reason
    }
  }()

  static var isAvailable: Bool { obstacle == nil }
}
