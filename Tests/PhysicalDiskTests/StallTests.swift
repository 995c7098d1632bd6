import BlockDevice
import CLinux
import Glibc
import Reactor
import TestSupport
import Testing

@testable import PhysicalDisk

/// Giving up real disks that hang, on the ring.
@Suite struct StallTests {
  /// Requests to a file whose server has stopped, as they end beside the test.
  private final class Outcomes: @unchecked Sendable {  // reactor-confined
    var errors: [BlockError?] = []

    func start(_ disk: PhysicalDisk, _ body: @escaping @Sendable () async throws(BlockError) -> Void) {
      disk.reactor.spawn { [self] in
        var failure: BlockError?
        do throws(BlockError) { try await body() } catch { failure = error }
        errors.append(failure)
      }
    }
  }

  /// Its own: what hangs must not hold up other tests, and the buffers are counted.
  private func withReactor(_ body: @escaping @Sendable (RingReactor, BlockingCalls) async throws -> Void) async throws {
    let reactor = try RingReactor.start(name: "stall")
    let blocking = try BlockingCalls.start(name: "stall blocking")
    try await reactor.run { () async throws -> Void in try await body(reactor, blocking) }
    reactor.stop()
  }

  @Test(.enabled(if: HangingFile.isAvailable, "needs nbdfuse and nbdkit"))
  func aRealFileThatHangsIsGivenUpAndItsWriteLandsLater() async throws {
    let hanging = try HangingFile()
    let directory = try TemporaryDirectory()
    let healthyPath = try directory.sparseFile(byteCount: UInt64(8 << 20))
    let path = hanging.path
    let probe = clinux_open(path, O_RDWR | O_CLOEXEC, 0)
    try #require(probe >= 0)
    try await withReactor { reactor, blocking in
      let healthy = PhysicalDisk(
        reactor: reactor, port: try await DescriptorPort.open(path: healthyPath, on: reactor, blocking: blocking))
      let disk = PhysicalDisk(reactor: reactor, port: try await DescriptorPort.open(path: path, on: reactor, blocking: blocking))
      print("StallTests: the hanging file is used with \(disk.remarks)")
      let large = await reactor.pattern(byteCount: 256 << 10, seed: 5)
      let small = await reactor.pattern(byteCount: 4096, seed: 6)
      try await disk.write(at: 0, from: small, IORequest())
      try await disk.flush(IORequest())
      try await disk.checkIntegrity()
      try await disk.write(at: 8192, from: small, IORequest())  // so that there is something to flush

      try hanging.hang()
      let outcomes = Outcomes()
      outcomes.start(disk) { () async throws(BlockError) in
        defer { reactor.buffers.release(large.buffer) }
        try await disk.write(at: 1 << 20, from: large, IORequest())
      }
      outcomes.start(disk) { () async throws(BlockError) in
        let slice = await reactor.buffers.acquire(byteCount: 4096)
        defer { reactor.buffers.release(slice.buffer) }
        try await disk.read(at: 0, into: slice, IORequest())
      }
      for _ in 0..<2 { outcomes.start(disk) { () async throws(BlockError) in try await disk.flush(IORequest()) } }
      // Answered from what the kernel remembers, or not at all until the disk is given up; never by keeping the reactor waiting.
      let look = Outcomes()
      look.start(disk) { () async throws(BlockError) in try await disk.checkIntegrity() }
      #expect(await reactor.eventually { disk.oldestRequestAge(now: reactor.now) > 100_000_000 })
      #expect(outcomes.errors.isEmpty)
      // Others are not held up meanwhile.
      let other = await reactor.pattern(byteCount: 4096, seed: 9)
      let began = reactor.now
      for _ in 0..<20 {
        try await healthy.write(at: 0, from: other, IORequest())
        try await healthy.flush(IORequest())
      }
      #expect(reactor.now.nanoseconds(since: began) < 5_000_000_000)
      #expect(healthy.oldestRequestAge(now: reactor.now) == 0)

      let given = reactor.now
      disk.abandon()
      #expect(await reactor.eventually { outcomes.errors.count == 4 && look.errors.count == 1 })
      print("StallTests: all callers were sent away in \(reactor.now.nanoseconds(since: given) / 1000) us")
      #expect(outcomes.errors == [BlockError?](repeating: BlockError(.stalled), count: 4))
      #expect(!disk.hasDrained && disk.port.hungCount >= 3)
      #expect(reactor.buffers.heldCount == 4, "the write's and the read's stay held beside the test's own two")
      await #expect(throws: BlockError(.stalled)) { try await disk.write(at: 0, from: small, IORequest()) }
      // Whoever asks for buffers now gets others.
      var taken: [BufferSlice] = []
      for byteCount in [4096, 256 << 10] {
        for _ in 0..<150 {
          guard let slice = reactor.buffers.tryAcquire(byteCount: byteCount) else { continue }
          memset(slice.start, 0xAA, slice.byteCount)
          taken.append(slice)
        }
      }
      for slice in taken { reactor.buffers.release(slice.buffer) }
      #expect(await disk.close() == .whenDrained)
      #expect(flock(probe, LOCK_EX | LOCK_NB) != 0, "the claim is held as long as writes may land")

      hanging.goOn()
      await disk.drained()
      #expect(disk.hasDrained)
      #expect(await reactor.eventually { flock(probe, LOCK_EX | LOCK_NB) == 0 }, "and given up then")
      #expect(reactor.buffers.heldCount == 2)
      let port = try await DescriptorPort.open(path: path, access: .readOnly, on: reactor, blocking: blocking)
      let back = await reactor.buffers.acquire(byteCount: 256 << 10)
      let wanted = await reactor.pattern(byteCount: 256 << 10, seed: 5)
      #expect(await port.read(back, at: 1 << 20) == 0)
      #expect(memcmp(back.start, wanted.start, wanted.byteCount) == 0, "it landed with what it was asked to write")
      await port.close()
      await healthy.close()
      for slice in [small, other, back, wanted] { reactor.buffers.release(slice.buffer) }
      #expect(reactor.buffers.heldCount == 0)
    }
    close(probe)
  }

  /// A thread that is stuck in a discard: the caller is sent away, the thread ends by itself later.
  @Test func aCallThatIsStuckInAThreadIsGivenUp() async throws {
    try await withReactor { reactor, _ in
      var ends: [Int32] = [0, 0]
      try #require(pipe(&ends) == 0)
      let (reader, writer) = (ends[0], ends[1])
      let stuck = BlockingDiscards(reactor: reactor)
      let others = BlockingDiscards(reactor: reactor)
      final class Results: @unchecked Sendable { var values: [Int32] = [] }  // reactor-confined
      let results = Results()
      let tasks = (0..<2).map { _ in
        reactor.spawn {
          let result = await stuck.call {
            var byte: UInt8 = 0
            return Int32(read(reader, &byte, 1))
          }
          results.values.append(result)
        }
      }
      #expect(await reactor.eventually { stuck.oldestAge(now: reactor.now) > 10_000_000 })
      #expect(await others.call { 7 } == 7, "another device's thread is free")
      stuck.abandon()
      for task in tasks { await task.value }
      #expect(results.values == [IOResult.abandoned, IOResult.abandoned])
      #expect(stuck.hungCount == 2 && stuck.oldestAge(now: reactor.now) == 0)
      #expect(await stuck.perform(-1, at: 0, byteCount: 4096) == IOResult.abandoned)
      #expect(write(writer, [1, 2], 2) == 2)
      await stuck.drained()
      #expect(stuck.hungCount == 0)
      close(reader)
      close(writer)
    }
  }
}
