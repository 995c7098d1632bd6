import CLinux
import Glibc
import PhysicalDisk
import Reactor
import Testing

/// A directory that goes with the test.
final class TestDirectory: Sendable {
  let path: String

  /// Under /tmp, on the disk's file system; "/dev/shm" is a tmpfs.
  init(under parent: String = "/tmp") throws {
    path = "\(parent)/spaceport-disk-\(UInt64.random(in: 0 ... .max))"
    try #require(mkdir(path, 0o700) == 0)
  }

  deinit { _ = try? run("rm", "-rf", "--one-file-system", path) }

  func makeFile(_ name: String = "disk", byteCount: Int) throws -> String {
    let file = "\(path)/\(name)"
    let descriptor = clinux_open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
    try #require(ftruncate(descriptor, off_t(byteCount)) == 0)
    close(descriptor)
    return file
  }
}

struct CommandResult {
  var status: Int32
  var output: String
}

/// For the shell.
private func quoted(_ word: String) -> String {
  "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}

/// Runs a program of the machine to its end; output and errors together.
@discardableResult
func run(_ command: String...) throws -> CommandResult { try runList(command) }

func runList(_ command: [String]) throws -> CommandResult {
  let line = "PATH=/usr/sbin:/usr/bin:/sbin:/bin exec \(command.map(quoted).joined(separator: " ")) 2>&1 </dev/null"
  let stream = try #require(popen(line, "re"))
  var output: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 4096)
  while case let count = fread(&piece, 1, piece.count, stream), count > 0 { output += piece[..<count] }
  return CommandResult(status: pclose(stream) >> 8, output: String(decoding: output, as: UTF8.self))
}

/// A second process that holds a lock on a file until it is told to end.
final class LockHolder {
  let processID: Int32
  private let stream: UnsafeMutablePointer<FILE>
  private let signal: String

  /// Returns once the lock is held.
  init(path: String) throws {
    signal = path + ".release"
    try #require(mkfifo(signal, 0o600) == 0)
    let line = "exec flock --exclusive --no-fork \(quoted(path)) sh -c 'echo $$; read line <\"$0\"' \(quoted(signal))"
    stream = try #require(popen(line, "re"))
    var said = [CChar](repeating: 0, count: 64)
    try #require(fgets(&said, 64, stream) != nil)
    processID = try #require(Int32(String(decoding: said.prefix { $0 != 10 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)))
  }

  /// Ends it, and waits until it has ended.
  func release() {
    let descriptor = clinux_open(signal, O_WRONLY | O_CLOEXEC, 0)
    close(descriptor)
    pclose(stream)
  }
}

struct LoopDeviceError: Error, CustomStringConvertible {
  var description: String
}

/// A loop device over a sparse file.
final class LoopDevice: Sendable {
  let path: String
  /// What it is over.
  let file: String
  private let directory: TestDirectory

  init(sector: Int, byteCount: Int = 64 << 20, hasPartitions: Bool = false) throws {
    directory = try TestDirectory()
    file = try directory.makeFile(byteCount: byteCount)
    var result = CommandResult(status: 1, output: "")
    for _ in 0..<5 where result.status != 0 {  // another process may take the free one first
      let options = ["--find", "--show", "--direct-io=on", "--sector-size", String(sector)] + (hasPartitions ? ["--partscan"] : [])
      result = try runList(["losetup"] + options + [file])
    }
    guard result.status == 0 else { throw LoopDeviceError(description: result.output) }
    path = String(result.output.prefix { $0 != "\n" })
  }

  deinit { _ = try? run("losetup", "--detach", path) }

  /// Why this machine has none for us; nil when it does. Printed, since a skipped test is easily overlooked.
  static let obstacle: String? = {
    do {
      _ = try LoopDevice(sector: 4096, byteCount: 1 << 20)
      return nil
    } catch {
      let reason = "SKIPPED: tests on loop devices, because losetup does not work here: \(error)"
      print(reason)
      return reason
    }
  }()

  static var isAvailable: Bool { obstacle == nil }
}

/// Tests that mount need root.
let mayMount: Bool = {
  if getuid() == 0 { return true }
  print("SKIPPED: tests that mount a file system, because this user is not root")
  return false
}()

/// One reactor for all tests: they run side by side, and an ordinary user may not lock the memory of that many rings.
private let sharedReactor = Result { try RingReactor.start(name: "test") }
private let sharedBlocking = Result { try BlockingCalls.start(name: "test blocking") }

/// The reactor with its blocking calls.
struct TestReactor {
  let reactor: RingReactor
  let blocking: BlockingCalls

  init() throws {
    reactor = try sharedReactor.get()
    blocking = try sharedBlocking.get()
  }

  func open(_ path: String, access: DiskAccess = .claimed, waitMilliseconds: UInt64 = 0) async throws -> DescriptorPort {
    try await reactor.run { [self] () async throws(DiskOpenError) -> DescriptorPort in
      try await DescriptorPort.open(path: path, access: access, on: reactor, blocking: blocking, claimWaitMilliseconds: waitMilliseconds)
    }
  }
}

extension Reactor {
  /// Lets other tasks run until `condition` holds; false when it does not within the limit.
  func eventually(_ condition: () -> Bool) async -> Bool {
    let giveUp = now.advanced(milliseconds: 10_000)
    while !condition() {
      if now > giveUp { return false }
      await sleep(milliseconds: 0)
    }
    return true
  }

  /// A buffer filled with a pattern that depends on `seed`.
  func pattern(byteCount: Int, seed: Int) async -> BufferSlice {
    let slice = await buffers.acquire(byteCount: byteCount)
    for index in 0..<byteCount { slice.bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8 &+ seed) }
    return slice
  }
}

func allocatedByteCount(_ path: String) -> Int {
  var status = stat()
  return stat(path, &status) == 0 ? Int(status.st_blocks) * 512 : -1
}
