import BlockDevice
import Testing

@testable import NBDServer

extension ServerTests {
  /// READ in chunks: data, holes and errors.
  @Suite struct ReadCases {
    private static let kibibyte: UInt64 = 1 << 10
    /// Data, a hole, data, a hole, data to the end; each is 64 KiB.
    static let striped = (0..<4).map { BlockExtent(byteCount: 64 << 10, isAllocated: $0 % 2 == 0, isZero: $0 % 2 == 1) }

    /// What the device holds: data everywhere but in the holes.
    private static func bytes(_ offset: UInt64, _ count: UInt64) -> [UInt8] {
      (offset..<offset + count).map { $0 < 256 << 10 && $0 / (64 << 10) % 2 == 1 ? 0 : UInt8(truncatingIfNeeded: $0 &* 7 | 1) }
    }

    private static func fill(_ harness: ServerHarness) async throws {
      let writer = try harness.enter()
      #expect(try writer.write(bytes(0, 512 << 10), at: 0) == 0)
      await harness.on { $0.device.layout = striped }
    }

    @Test(arguments: Mode.allCases, [UInt64(0), 511, 65536, 70000])
    func everyRangeReadsTheSameInEveryMode(mode: Mode, offset: UInt64) async throws {
      try await ServerHarness.run { harness in
        try await ReadCases.fill(harness)
        let client = try ConformanceClient(harness, mode)
        for length in [UInt64(1), 512, 65537, 250_000] {
          for flags in mode.hasChunks ? [UInt16(0), 4, 1, 5] : [0, 1] {
            #expect(try client.read(at: offset, length: length, flags: flags).bytes == ReadCases.bytes(offset, length))
          }
        }
      }
    }

    @Test(arguments: Mode.withChunks) func holesAreToldAndNotRead(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        try await ReadCases.fill(harness)
        let client = try ConformanceClient(harness, mode)
        let before = await harness.on { $0.device.calls.count }
        let k = ReadCases.kibibyte
        let hole = try client.read(at: 70 * k, length: 10 * k)
        #expect(hole.content == [.init(offset: 70 * k, byteCount: 10 * k, isHole: true)])
        #expect(await harness.on { $0.device.calls.count } == before, "the device was asked for a hole")
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
        let mixed = try client.read(at: 32 * k, length: 256 * k)
        #expect(
          mixed.content == [
            .init(offset: 32 * k, byteCount: 32 * k, isHole: false), .init(offset: 64 * k, byteCount: 64 * k, isHole: true),
            .init(offset: 128 * k, byteCount: 64 * k, isHole: false), .init(offset: 192 * k, byteCount: 64 * k, isHole: true),
            .init(offset: 256 * k, byteCount: 32 * k, isHole: false),
          ])
        let reads = await harness.on { $0.device.calls.dropFirst(before).map { [$0.offset, $0.byteCount] } }
        #expect(reads == [[32 * k, 32 * k], [128 * k, 64 * k], [256 * k, 32 * k]])
      }
    }

    @Test(arguments: Mode.withChunks) func withDFThereIsOneChunk(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        try await ReadCases.fill(harness)
        let client = try ConformanceClient(harness, mode)
        let mixed = try client.read(at: 0, length: 300_000, flags: 4)
        #expect(mixed.content == [.init(offset: 0, byteCount: 300_000, isHole: false)])
        #expect(try client.read(at: 65536, length: 65536, flags: 4).content == [.init(offset: 65536, byteCount: 65536, isHole: true)])
        #expect(try client.read(at: 0, length: 65536, flags: 4).content.count == 1)
      }
    }

    @Test(arguments: Mode.withChunks) func whatIsCutUpTooMuchIsSentAsData(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        await harness.on {
          $0.device.layout = (0..<1000).map { BlockExtent(byteCount: 512, isAllocated: true, isZero: $0 % 2 == 0) }
        }
        let client = try ConformanceClient(harness, mode)
        let reply = try client.read(at: 0, length: 512_000)
        #expect(reply.content.count == WireLimits.readParts)
        #expect(reply.bytes == [UInt8](repeating: 0, count: 512_000))
        // Many of these at once: their headers do not fit in one send.
        await harness.on { $0.device.shutGate() }
        for index in 0..<100 { try client.send(0, at: UInt64(index) * 512, length: 8192) }
        await harness.until("all are in the device") { $0.device.waitingCount == 100 }
        await harness.on { $0.device.openGate() }
        for _ in 0..<100 { #expect(try client.receive().bytes == [UInt8](repeating: 0, count: 8192)) }
      }
    }

    @Test(arguments: Mode.withChunks) func aFailedReadIsOneErrorChunkAndTheConnectionGoesOn(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        try await ReadCases.fill(harness)
        let client = try ConformanceClient(harness, mode)
        await harness.on { $0.device.failure = BlockError(.ioFailed) }
        let whole = try client.read(at: 0, length: 4096)
        #expect(whole.error == 5 && whole.errorOffset == nil && whole.content.isEmpty && whole.chunkCount == 1)
        await harness.on {
          $0.device.failure = nil
          $0.device.badOffset = 128 << 10
        }
        let part = try client.read(at: 0, length: 256 << 10)
        #expect(part.error == 5 && part.errorOffset == 128 << 10 && part.content.isEmpty)
        #expect(try client.read(at: 0, length: 100).bytes == ReadCases.bytes(0, 100))
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
      }
    }

    /// Also an early refusal is a chunk: the client checks that no READ is answered simply.
    @Test(arguments: Mode.withChunks) func refusedReadsAreChunks(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 40 << 20) { harness in
        let client = try ConformanceClient(harness, mode)
        let size: UInt64 = 40 << 20
        #expect(try client.error(0, at: size - 1, length: 2) == 22)
        #expect(try client.error(0, at: .max, length: 0xffff_ffff) == 75)
        #expect(try client.error(0, at: .max, length: 512) == 22)
        for flags in [UInt16(2), 8, 16, 32, 64, 1 << 15] {
          if mode == .structured || flags != 32 { #expect(try client.error(0, length: 512, flags: flags) == 22) }
        }
        #expect(try client.error(0, length: 32 << 20 + 1) == 75)
        #expect(try client.error(0, length: 32 << 20 + 1, flags: 4) == 75)
        #expect(try client.read(at: 0, length: 32 << 20).bytes.count == 32 << 20)
        #expect(try client.read(at: size, length: 0).error == 0)
      }
    }

    @Test func dfNeedsStructuredReplies() async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, .simple)
        #expect(try client.error(0, length: 512, flags: 4) == 22)
      }
    }

    @Test(arguments: Mode.withChunks) func aReadWhoseDiskWasGivenUpComesFromAnotherBuffer(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        try await ReadCases.fill(harness)
        let client = try ConformanceClient(harness, mode)
        for silently in [false, true] {
          await harness.on {
            $0.device.stallsSilently = silently
            $0.device.stalls = 2
          }
          #expect(try client.read(at: 0, length: 256 << 10).bytes == ReadCases.bytes(0, 256 << 10))
          await harness.on { $0.device.landStalledReads() }
        }
        await harness.on { $0.device.stalls = WireLimits.stalledReadRetries + 1 }
        #expect(try client.read(at: 0, length: 4096).error == 5)
        await harness.on { $0.device.landStalledReads() }
        await harness.until("every buffer is free") { $0.reactor.buffers.heldCount == 0 }
      }
    }
  }
}
