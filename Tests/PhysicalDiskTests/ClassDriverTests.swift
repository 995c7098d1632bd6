import BlockDevice
import CLinux
import PhysicalDisk
import Reactor
import Testing

/// What PhysicalDisk adds to a port: alignment, retries, replacements, health.
@Suite struct ClassDriverTests {
  private func withPort(_ body: @escaping @Sendable (any Reactor, FakePort, BufferSlice) async throws -> Void) async throws {
    let reactor = try TestReactor().reactor
    try await reactor.run { () async throws -> Void in
      let slice = await reactor.pattern(byteCount: 8192, seed: 1)
      try await body(reactor, FakePort(), slice)
      reactor.buffers.release(slice.buffer)
    }
  }

  @Test(arguments: [512, 4096])
  func misalignedRequestsAreRefusedBeforeThePortIsAsked(alignment: Int) async throws {
    try await withPort { reactor, port, slice in
      port.facts.ioAlignment = alignment
      let disk = PhysicalDisk(reactor: reactor, port: port)
      let whole = slice.part(from: 0, byteCount: alignment)
      let half = UInt64(alignment / 2)
      let misaligned = BlockError(.misaligned)
      await #expect(throws: misaligned) { try await disk.read(at: half, into: whole, IORequest()) }
      await #expect(throws: misaligned) { try await disk.write(at: 1, from: whole, IORequest()) }
      await #expect(throws: misaligned) { try await disk.write(at: 0, from: slice.part(from: 0, byteCount: alignment / 2), IORequest()) }
      await #expect(throws: misaligned) { try await disk.write(at: 0, from: slice.part(from: 16, byteCount: alignment), IORequest()) }
      await #expect(throws: misaligned) { try await disk.discard(at: 0, byteCount: half, IORequest()) }
      await #expect(throws: misaligned) { try await disk.writeZeroes(at: half, byteCount: UInt64(alignment), IORequest()) }
      #expect(port.reads == 0 && port.writes.isEmpty && port.punches == 0)
      #expect(disk.health.state == .ok)
      try await disk.write(at: UInt64(alignment), from: whole, IORequest())
      #expect(port.writes.count == 1)
    }
  }

  @Test func transientErrorsAreRepeatedAndCounted() async throws {
    try await withPort { reactor, port, slice in
      let disk = PhysicalDisk(reactor: reactor, port: port)
      port.readResults = [-EIO, -ETIMEDOUT]
      try await disk.read(at: 512, into: slice, IORequest())
      #expect(port.reads == 3)
      #expect(disk.health.state == .transientErrors)
      #expect(disk.health.transientErrors == 2)
      #expect(disk.health.lastError?.hasPrefix("read at byte 512: ") == true)
    }
  }

  /// A block device that shrank answers ENOSPC beyond its new end: that is a failure of the disk, not a full one.
  @Test func noSpaceOnADiskThatShrankIsItsFailure() async throws {
    try await withPort { reactor, port, slice in
      let disk = PhysicalDisk(reactor: reactor, port: port)
      port.writeResults = [-ENOSPC, -ENOSPC]
      await #expect(throws: BlockError(.noSpace, errorNumber: ENOSPC)) { try await disk.write(at: 0, from: slice, IORequest()) }
      #expect(disk.health.state == .ok)
      port.fault = DiskFault(.shrank, description: "it shrank")
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.write(at: 0, from: slice, IORequest()) }
      #expect(disk.fault?.kind == .shrank && disk.ailment == "it shrank")
    }
  }

  @Test func retriesAreBounded() async throws {
    try await withPort { reactor, port, slice in
      let disk = PhysicalDisk(reactor: reactor, port: port)
      port.writeResults = Array(repeating: -EIO, count: 10)
      await #expect(throws: BlockError(.ioFailed, errorNumber: EIO)) { try await disk.write(at: 0, from: slice, IORequest()) }
      #expect(port.writes.count == 1 + DiskLimits.transientRetries)
      #expect(disk.health.state == .ioErrors)
      #expect(disk.health.failedRequests == 1)
    }
  }

  @Test(arguments: [(ENODATA, DiskHealth.State.ioErrors), (EILSEQ, .ioErrors), (ENODEV, .failed)])
  func errorsThatStayAreNotRepeated(errorNumber: Int32, state: DiskHealth.State) async throws {
    try await withPort { reactor, port, slice in
      let disk = PhysicalDisk(reactor: reactor, port: port)
      port.readResults = [-errorNumber]
      await #expect(throws: BlockError(.ioFailed, errorNumber: errorNumber)) { try await disk.read(at: 0, into: slice, IORequest()) }
      #expect(port.reads == 1)
      #expect(disk.health.state == state)
    }
  }

  @Test(arguments: [ENOSPC, EDQUOT, EFBIG])
  func aFullFileSystemIsNoSpaceAndNoErrorOfTheDisk(errorNumber: Int32) async throws {
    try await withPort { reactor, port, slice in
      let disk = PhysicalDisk(reactor: reactor, port: port)
      port.writeResults = [-errorNumber]
      await #expect(throws: BlockError(.noSpace, errorNumber: errorNumber)) { try await disk.write(at: 0, from: slice, IORequest()) }
      #expect(port.writes.count == 1)
      #expect(disk.health.state == .ok)
      #expect(disk.health.fullErrors == 1)
    }
  }

  @Test func zerosAreWrittenWhereThePortCannotZero() async throws {
    try await withPort { reactor, port, _ in
      port.facts.zeroesCheaply = true
      port.zeroResults = [-EOPNOTSUPP]
      let disk = PhysicalDisk(reactor: reactor, port: port)
      let byteCount = UInt64(DiskLimits.zeroPieceByteCount * 2 + 1536)
      try await disk.writeZeroes(at: 512, byteCount: byteCount, IORequest(flags: .forceUnitAccess))
      #expect(port.writes.map(\.byteCount) == [1 << 20, 1 << 20, 1536])
      let offsets: [UInt64] = [512, 512 + 1 << 20, 512 + 2 << 20]
      #expect(port.writes.map(\.offset) == offsets)
      #expect(port.writes.allSatisfy { $0.isDurable })
      #expect(!port.sawNonZero)
      // The refusal is remembered.
      try await disk.writeZeroes(at: 0, byteCount: 512, IORequest())
      #expect(port.zeroes == 1)
      #expect(port.writes.last?.isDurable == false)
    }
  }

  @Test func durableZeroingIsFlushed() async throws {
    try await withPort { reactor, port, _ in
      port.facts.zeroesCheaply = true
      port.facts.discardGranularity = 4096
      let disk = PhysicalDisk(reactor: reactor, port: port)
      for operation in [IOPart.Operation.writeZeroes, .discard] {
        let before = port.flushesSubmitted
        let task = reactor.spawn {
          _ = try? await IOPart(operation, disk, at: 0, byteCount: 4096).perform(IORequest(flags: .forceUnitAccess))
        }
        #expect(await reactor.eventually { port.hasFlushInFlight })
        port.finishFlush()
        await task.value
        #expect(port.flushesSubmitted == before + 1)
      }
      #expect(port.zeroes == 1 && port.punches == 1 && port.writes.isEmpty)
    }
  }

  @Test func discardWithoutSupportSucceedsAndKeepsTheData() async throws {
    try await withPort { reactor, port, _ in
      let disk = PhysicalDisk(reactor: reactor, port: port)
      try await disk.discard(at: 0, byteCount: 4096, IORequest())
      #expect(port.punches == 0)
    }
    try await withPort { reactor, port, _ in
      port.facts.discardGranularity = 4096
      port.punchResults = [-EOPNOTSUPP]
      let disk = PhysicalDisk(reactor: reactor, port: port)
      try await disk.discard(at: 0, byteCount: 4096, IORequest())
      try await disk.discard(at: 0, byteCount: 4096, IORequest())
      #expect(port.punches == 1)
      #expect(disk.health.state == .ok)
    }
  }

  @Test func aReadOnlyDiskTakesNoWrites() async throws {
    try await withPort { reactor, port, slice in
      port.facts.isReadOnly = true
      let disk = PhysicalDisk(reactor: reactor, port: port)
      #expect(disk.geometry.isReadOnly)
      try await disk.read(at: 0, into: slice, IORequest())
      await #expect(throws: BlockError(.readOnly)) { try await disk.write(at: 0, from: slice, IORequest()) }
      await #expect(throws: BlockError(.readOnly)) { try await disk.writeZeroes(at: 0, byteCount: 512, IORequest()) }
      await #expect(throws: BlockError(.readOnly)) { try await disk.discard(at: 0, byteCount: 512, IORequest()) }
    }
  }
}
