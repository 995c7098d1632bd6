import CLinux
import Glibc
import PhysicalDisk
import Reactor
import TestSupport
import Testing

/// For the shell.
private func quoted(_ word: String) -> String {
  "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}

/// Runs a program of the machine to its end.
@discardableResult
func run(_ command: String...) throws -> ProgramResult { try Program.runBlocking(command) }

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
