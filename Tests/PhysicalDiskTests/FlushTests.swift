import BlockDevice
import CLinux
import PhysicalDisk
import Reactor
import Testing

/// How a request that runs beside the test ended.
final class Outcome: @unchecked Sendable {  // reactor-confined
  var token: FlushToken?
  var error: BlockError?
  var isDone: Bool { token != nil || error != nil }
}

extension PhysicalDisk {
  func startFlush() -> Outcome {
    let outcome = Outcome()
    reactor.spawn { [self] in
      do throws(BlockError) { outcome.token = try await flush(IORequest()) } catch { outcome.error = error }
    }
    return outcome
  }
}

/// Rule W: which disk flush may answer which FLUSH.
@Suite struct FlushTests {
  /// Runs `body` on a reactor with a PhysicalDisk over a fake port, flushed once (number 1), and a buffer of 4096 bytes.
  private func withDisk(
    isFlushed: Bool = true, _ body: @escaping @Sendable (PhysicalDisk, FakePort, BufferSlice) async throws -> Void
  ) async throws {
    let reactor = try TestReactor().reactor
    try await reactor.run { () async throws -> Void in
      let port = FakePort()
      let disk = PhysicalDisk(reactor: reactor, port: port)
      let slice = await reactor.pattern(byteCount: 4096, seed: 1)
      if isFlushed {
        let flush = disk.startFlush()
        #expect(await reactor.eventually { port.hasFlushInFlight })
        port.finishFlush()
        #expect(await reactor.eventually { flush.token?.number == 1 })
        port.forgetFlushes()
      }
      try await body(disk, port, slice)
      reactor.buffers.release(slice.buffer)
    }
  }

  /// A predecessor may have answered writes that it did not flush.
  @Test func theFirstFlushIsAlwaysSentAndTheSecondIsNot() async throws {
    try await withDisk(isFlushed: false) { disk, port, _ in
      let first = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      port.finishFlush()
      #expect(await disk.reactor.eventually { first.token?.number == 1 })
      let again = try await disk.flush(IORequest())
      #expect(again.number == 1)
      #expect(port.flushesSubmitted == 1)
    }
  }

  @Test func aFlushJoinsOnlyADiskFlushSubmittedAfterItArrived() async throws {
    try await withDisk { disk, port, slice in
      try await disk.write(at: 0, from: slice, IORequest())
      let first = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      // These three arrive while flush 1 is in flight: they share flush 2, which is submitted when 1 has ended.
      let later = (0..<3).map { _ in disk.startFlush() }
      for _ in 0..<10 { await disk.reactor.sleep(milliseconds: 0) }
      #expect(port.flushesSubmitted == 1)
      port.finishFlush()
      #expect(await disk.reactor.eventually { port.flushesSubmitted == 2 && port.hasFlushInFlight })
      #expect(first.token?.number == 2)
      #expect(later.allSatisfy { !$0.isDone })
      port.finishFlush()
      #expect(await disk.reactor.eventually { later.allSatisfy { $0.isDone } })
      #expect(later.map { $0.token?.number } == [3, 3, 3])
      #expect(port.flushesSubmitted == 2)
    }
  }

  @Test func aFlushIsSkippedOnlyWhenAGoodOneCoversEveryAnsweredWrite() async throws {
    try await withDisk { disk, port, slice in
      try await disk.write(at: 0, from: slice, IORequest())
      let first = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      // Answered while the flush is in flight: that one need not have covered it.
      try await disk.write(at: 4096, from: slice, IORequest())
      port.finishFlush()
      #expect(await disk.reactor.eventually { first.isDone })
      let second = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      #expect(port.flushesSubmitted == 2)
      port.finishFlush()
      #expect(await disk.reactor.eventually { second.token?.number == 3 })
      let again = try await disk.flush(IORequest())
      #expect(again.number == 3)
      #expect(port.flushesSubmitted == 2)
    }
  }

  @Test func aWriteInFlightWhenTheFlushWasSubmittedIsFlushedByTheNext() async throws {
    try await withDisk { disk, port, slice in
      port.holdsWrites = true
      let write = disk.reactor.spawn { _ = try? await disk.write(at: 0, from: slice, IORequest()) }
      #expect(await disk.reactor.eventually { port.heldWriteCount == 1 })
      // Not answered yet, so that nothing is promised of it.
      _ = try await disk.flush(IORequest())
      #expect(port.flushesSubmitted == 0)
      port.finishWrite()
      await write.value
      let flush = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      port.finishFlush()
      #expect(await disk.reactor.eventually { flush.token?.number == 2 })
    }
  }

  @Test func durableWritesLeaveNothingToFlush() async throws {
    try await withDisk { disk, port, slice in
      try await disk.write(at: 0, from: slice, IORequest(flags: .forceUnitAccess))
      #expect(port.writes.first?.isDurable == true)
      _ = try await disk.flush(IORequest())
      #expect(port.flushesSubmitted == 0)
    }
  }

  @Test func aFailedFlushIsNeverBelievedLater() async throws {
    try await withDisk { disk, port, slice in
      try await disk.write(at: 0, from: slice, IORequest())
      let first = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      let waiting = disk.startFlush()
      for _ in 0..<10 { await disk.reactor.sleep(milliseconds: 0) }
      port.finishFlush(-ENOSPC)
      #expect(await disk.reactor.eventually { first.isDone && waiting.isDone })
      #expect(first.error == BlockError(.ioFailed, errorNumber: ENOSPC))
      #expect(waiting.error == BlockError(.ioFailed, errorNumber: EIO))
      #expect(port.flushesSubmitted == 1)
      #expect(disk.health.state == .flushFailed)
      // Reads and writes go on; no flush succeeds, and none is sent.
      try await disk.write(at: 0, from: slice, IORequest())
      try await disk.read(at: 0, into: slice, IORequest())
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      #expect(port.flushesSubmitted == 1)
    }
  }

  @Test func aFaultFoundAfterTheDiskFlushFailsIt() async throws {
    try await withDisk { disk, port, slice in
      try await disk.write(at: 0, from: slice, IORequest())
      let flush = disk.startFlush()
      #expect(await disk.reactor.eventually { port.hasFlushInFlight })
      port.fault = DiskFault(.shrank, description: "fake shrank")
      port.finishFlush()
      #expect(await disk.reactor.eventually { flush.isDone })
      #expect(flush.error == BlockError(.ioFailed, errorNumber: EIO))
      #expect(disk.health.state == .failed)
      #expect(disk.health.lastError == "fake shrank")
    }
  }

  @Test func aFaultFailsAFlushThatHasNothingToDo() async throws {
    try await withDisk { disk, port, _ in
      port.fault = DiskFault(.gone, description: "fake is gone")
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
      port.fault = nil
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.flush(IORequest()) }
    }
  }

  @Test func closingWaitsForWhatIsInFlightAndRefusesTheRest() async throws {
    try await withDisk { disk, port, slice in
      port.holdsWrites = true
      let write = disk.reactor.spawn { _ = try? await disk.write(at: 0, from: slice, IORequest()) }
      #expect(await disk.reactor.eventually { port.heldWriteCount == 1 })
      let close = disk.reactor.spawn { await disk.close() }
      for _ in 0..<10 { await disk.reactor.sleep(milliseconds: 0) }
      #expect(!port.isClosed)
      await #expect(throws: BlockError(.shuttingDown)) { try await disk.read(at: 0, into: slice, IORequest()) }
      await #expect(throws: BlockError(.shuttingDown)) { try await disk.flush(IORequest()) }
      port.finishWrite()
      await write.value
      await close.value
      #expect(port.isClosed)
    }
  }
}
