import CLinux
import Glibc
import Testing

/// A real file whose every request hangs on demand: nbdkit's disk in memory mounted by nbdfuse, which is stopped and let go on.
final class HangingFile: @unchecked Sendable {  // its stream is closed by deinit alone
  let path: String
  private let directory: TestDirectory
  private let stream: UnsafeMutablePointer<FILE>
  private let processID: Int32

  struct Unavailable: Error, CustomStringConvertible {
    var description: String
  }

  init(byteCount: Int = 64 << 20) throws {
    directory = try TestDirectory()
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
    throw Unavailable(description: (try? run("cat", log).output) ?? "nbdfuse does not start")
  }

  deinit {
    goOn()
    _ = try? run("umount", "--lazy", "\(directory.path)/mount")
    pclose(stream)  // nbdfuse ends with its mount
  }

  /// Returns when every thread of the server has stopped.
  func hang() throws {
    kill(processID, SIGSTOP)
    for _ in 0..<200 {
      let states = try run("sh", "-c", "cat /proc/\(processID)/task/*/stat").output.split(separator: "\n")
      if !states.isEmpty && states.allSatisfy({ $0.contains(") T ") }) { return }
      usleep(10_000)
    }
    throw Unavailable(description: "nbdfuse does not stop")
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
