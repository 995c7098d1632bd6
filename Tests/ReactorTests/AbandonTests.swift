import CLinux
import Testing

@testable import Reactor

/// Operations whose callers are sent away while the kernel still has them. A pipe that nobody writes to is a disk that hangs.
@Suite struct AbandonTests {
  private struct Pipe {
    let file: RingFile
    let other: RingFile
    let writer: Int32
    let otherWriter: Int32
  }

  private func withPipes(_ body: @escaping @Sendable (RingReactor, Pipe) async throws -> Void) async throws {
    let reactor = try RingReactor.start(name: "test")
    try await reactor.run { () async throws -> Void in
      var (first, second): ([Int32], [Int32]) = ([0, 0], [0, 0])
      try #require(pipe(&first) == 0 && pipe(&second) == 0)
      let pipes = Pipe(file: reactor.register(first[0]), other: reactor.register(second[0]), writer: first[1], otherWriter: second[1])
      try await body(reactor, pipes)
      reactor.close(pipes.file)
      reactor.close(pipes.other)
      close(pipes.writer)
      close(pipes.otherWriter)
    }
    reactor.stop()
  }

  private static func fill(_ writer: Int32, _ byte: UInt8, _ count: Int) {
    let bytes = [UInt8](repeating: byte, count: count)
    #expect(write(writer, bytes, count) == count)
  }

  @Test func theCallerIsSentAwayAndTheBufferStaysTheKernelsUntilTheEnd() async throws {
    try await withPipes { reactor, pipes in
      let slice = await reactor.buffers.acquire(byteCount: 512)
      memset(slice.start, 1, 512)
      let result = Recorder()
      let read = reactor.spawn {
        result.values.append(UInt64(bitPattern: Int64(await reactor.read(pipes.file, slice, at: 0))))
        reactor.buffers.release(slice.buffer)
      }
      #expect(reactor.oldestOperationAge(pipes.file) == 0)
      await reactor.sleep(milliseconds: 20)
      #expect(reactor.oldestOperationAge(pipes.file) >= 15_000_000 && reactor.oldestOperationAge(pipes.other) == 0)
      reactor.abandon(pipes.file)
      await read.value
      #expect(result.values == [UInt64(bitPattern: Int64(IOResult.abandoned))])
      #expect(reactor.oldestOperationAge(pipes.file) == 0 && reactor.hungCount(pipes.file) == 1)
      #expect(reactor.buffers.heldCount == 1)
      let others = (0..<200).compactMap { _ in reactor.buffers.tryAcquire(byteCount: 512) }
      #expect(others.allSatisfy { $0.buffer != slice.buffer })
      for other in others { reactor.buffers.release(other.buffer) }
      // The disk comes to itself: its data lands where it was asked to go.
      AbandonTests.fill(pipes.writer, 9, 512)
      await reactor.drained(pipes.file)
      #expect(slice.bytes.allSatisfy { $0 == 9 })
      #expect(reactor.hungCount(pipes.file) == 0 && reactor.buffers.heldCount == 0)
    }
  }

  /// While operations hang, thousands of others take and give back places: each gets its own result, and the hung ones keep theirs.
  @Test func aHungOperationKeepsItsPlace() async throws {
    try await withPipes { reactor, pipes in
      let count = 40
      let hung = Recorder()
      let tasks = (0..<count).map { _ in
        reactor.spawn {
          let slice = await reactor.buffers.acquire(byteCount: 16)
          hung.values.append(await reactor.read(pipes.file, slice, at: 0) == IOResult.abandoned ? 1 : 0)
          reactor.buffers.release(slice.buffer)
        }
      }
      await reactor.sleep(milliseconds: 1)
      reactor.abandon(pipes.file)
      reactor.abandon(pipes.file)  // again: nothing is counted twice
      for task in tasks { await task.value }
      #expect(hung.values == [UInt64](repeating: 1, count: count) && reactor.hungCount(pipes.file) == count)
      let good = Recorder()
      let slices = await reactor.buffers.acquire(byteCount: 1 << 20)
      for round in 0..<3 {
        // More at once than there are places at the start, so that the table grows with hung ones in it.
        let readers = (0..<1500).map { number in
          reactor.spawn {
            let slice = slices.part(from: number * 16, byteCount: 16)
            if await reactor.read(pipes.other, slice, at: 0) == 16 && slice.bytes.allSatisfy({ $0 == slice.bytes[0] }) {
              good.values.append(UInt64(slice.bytes[0]))
            }
          }
        }
        await reactor.sleep(milliseconds: 1)
        for _ in 0..<1500 { AbandonTests.fill(pipes.otherWriter, UInt8(round + 1), 16) }
        for reader in readers { await reader.value }
      }
      #expect(good.values.count == 4500)
      #expect(reactor.hungCount(pipes.file) == count)
      for _ in 0..<count { AbandonTests.fill(pipes.writer, 5, 16) }
      await reactor.drained(pipes.file)
      reactor.buffers.release(slices.buffer)
      #expect(reactor.buffers.heldCount == 0)
    }
  }

  @Test func reservedBuffersAreBeyondTheLimitsAndGoBackWithTheirLastHolder() throws {
    let pool = BufferPool(
      limits: BufferLimits(smallCount: 1, smallByteCount: 4096, largestByteCount: 4096, largeTotalByteCount: 0))
    let only = try #require(pool.tryAcquire(byteCount: 4096))
    #expect(pool.tryAcquire(byteCount: 4096) == nil)
    let kept = try #require(pool.reserve(byteCount: 64 << 10))
    #expect(kept.bytes.allSatisfy { $0 == 0 } && UInt(bitPattern: kept.start) % 4096 == 0)
    #expect(pool.reservedByteCount == 64 << 10 && pool.heldCount == 1)
    #expect(try #require(pool.exclusive(kept)).buffer == kept.buffer, "nobody else holds it")
    pool.retain(kept.buffer)  // a disk that hangs
    let fresh = try #require(pool.exclusive(kept))
    #expect(fresh.buffer != kept.buffer && fresh.byteCount == kept.byteCount)
    #expect(pool.reservedByteCount == 128 << 10)
    memset(kept.start, 3, kept.byteCount)  // it lands
    #expect(fresh.bytes.allSatisfy { $0 == 0 })
    pool.release(kept.buffer)
    #expect(pool.reservedByteCount == 64 << 10)
    // A pooled buffer that its owner holds for good is exchanged likewise, and goes back to the pool.
    pool.retain(only.buffer)
    let instead = try #require(pool.exclusive(only))
    #expect(pool.tryAcquire(byteCount: 1) == nil)
    pool.release(only.buffer)
    #expect(pool.tryAcquire(byteCount: 1)?.buffer == only.buffer)
    for slice in [fresh, instead] { pool.release(slice.buffer) }
    #expect(pool.reservedByteCount == 0)
  }
}
