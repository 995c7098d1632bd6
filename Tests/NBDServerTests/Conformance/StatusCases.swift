import BlockDevice
import Testing

@testable import NBDServer

extension ServerTests {
  /// BLOCK_STATUS: what is allocated, what reads as zeros, and on which row it lies.
  @Suite struct StatusCases {
    private let allocation = "base:allocation"
    private let slab = "spaceport:slab"
    private static let mebibyte: UInt64 = 1 << 20

    /// A row with data and zeros, nothing, a row of data, a row whose id is longer than 32 bits.
    private static let layout = [
      BlockExtent(byteCount: mebibyte / 2, isAllocated: true, isZero: false, row: 7),
      BlockExtent(byteCount: mebibyte / 2, isAllocated: true, isZero: true, row: 7),
      BlockExtent(byteCount: mebibyte, isAllocated: false, isZero: true),
      BlockExtent(byteCount: mebibyte, isAllocated: true, isZero: false, row: 9),
      BlockExtent(byteCount: mebibyte, isAllocated: true, isZero: false, row: 1 << 40 | 5),
    ]

    private func run(_ mode: Mode, _ contexts: [String], _ body: (ServerHarness, ConformanceClient) async throws -> Void) async throws {
      try await ServerHarness.run(byteCount: 8 << 20) { harness in
        await harness.on { $0.device.layout = StatusCases.layout }
        try await body(harness, try ConformanceClient(harness, mode, contexts: contexts))
      }
    }

    @Test(arguments: Mode.withChunks) func allocationSaysHolesAndZeros(mode: Mode) async throws {
      try await run(mode, [allocation]) { _, client in
        let m = StatusCases.mebibyte
        let all = try client.status(allocation, at: 0, length: 8 * m)
        #expect(all == [.init(m / 2, 0), .init(m / 2, 2), .init(m, 3), .init(6 * m, 0)])
        #expect(try client.status(allocation, at: m, length: m) == [.init(m, 3)])
        #expect(try client.status(allocation, at: m + 512, length: 1) == [.init(1, 3)])
        #expect(try client.status(allocation, at: m / 2 - 1, length: 2) == [.init(1, 0), .init(1, 2)])
        #expect(try client.status(allocation, at: 0, length: 8 * m, flags: 1).count == 4)
      }
    }

    /// Every extent of a client that asked for the block sizes is held against the least of them (`Reply.takeStatus`), also where the answer is cut.
    @Test(arguments: Mode.withChunks) func extentsAreMultiplesOfTheLeastBlock(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 8 << 20) { harness in
        let client = try ConformanceClient(harness, mode, contexts: [allocation, slab], blockSizes: true)
        #expect(client.minimumBlockByteCount == 512)
        let layouts = [
          StatusCases.layout, (0..<16384).map { BlockExtent(byteCount: 512, isAllocated: true, isZero: $0 % 2 == 0, row: UInt64($0 / 3)) },
        ]
        for layout in layouts {
          await harness.on { $0.device.layout = layout }
          let ranges: [(UInt64, UInt64)] = [(0, 8 << 20), (512, 1536), (7 << 20, 1 << 20), (StatusCases.mebibyte - 512, 1024)]
          for (offset, length) in ranges {
            for flags in [UInt16(0), 8] {
              let reply = try client.perform(7, at: offset, length: length, flags: flags)
              #expect(reply.error == 0 && reply.status.count == 2)
            }
          }
        }
      }
    }

    @Test(arguments: Mode.withChunks) func requestOneGivesOneExtentWithinTheRequest(mode: Mode) async throws {
      try await run(mode, [allocation, slab]) { _, client in
        let m = StatusCases.mebibyte
        #expect(try client.status(allocation, at: 0, length: 8 * m, flags: 8) == [.init(m / 2, 0)])
        #expect(try client.status(allocation, at: m, length: 100, flags: 8) == [.init(100, 3)])
        for offset in stride(from: 0, to: 8 * m, by: 300_000) { _ = try client.status(slab, at: offset, length: 100_000, flags: 9) }
      }
    }

    @Test(arguments: Mode.withChunks) func slabSaysTheRowsID(mode: Mode) async throws {
      try await run(mode, [slab]) { _, client in
        let m = StatusCases.mebibyte
        let long: UInt64 = mode == .extended ? 1 << 40 | 5 : 0xffff_ffff
        let all = try client.status(slab, at: 0, length: 5 * m)
        #expect(all == [.init(m, 7), .init(m, 0), .init(m, 9), .init(m, long), .init(m, 0)])
      }
    }

    @Test(arguments: Mode.withChunks) func bothContextsAreTold(mode: Mode) async throws {
      try await run(mode, [allocation, slab]) { _, client in
        let reply = try client.perform(7, at: 0, length: 3 << 20)
        #expect(reply.status.count == 2 && reply.error == 0)
      }
    }

    @Test(arguments: Mode.withChunks) func extentsAreBoundedAndAClientGetsOnFromThere(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 8 << 20) { harness in
        await harness.on {
          $0.device.layout = (0..<16384).map { BlockExtent(byteCount: 512, isAllocated: true, isZero: $0 % 2 == 0, row: UInt64($0 + 1)) }
        }
        let client = try ConformanceClient(harness, mode, contexts: [allocation, slab])
        var position: UInt64 = 0
        var count = 0
        while position < 8 << 20 {
          let reply = try client.perform(7, at: position, length: 8 << 20 - position)
          let extents = try #require(reply.status[client.contexts[allocation] ?? 0])
          #expect(extents.count <= WireLimits.statusExtents)
          position += extents.reduce(0) { $0 + $1.byteCount }
          count += extents.count
        }
        #expect(count == 16384)
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
      }
    }

    /// Sums of extents beyond 32 bits, on an export of a tebibyte.
    @Test(arguments: Mode.withChunks) func totalsDoNotOverflow(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        await harness.on {
          $0.device.shape.byteCount = 1 << 40
          $0.device.layout = (0..<1024).map { BlockExtent(byteCount: 1 << 30, isAllocated: $0 % 2 == 0, isZero: true) }
        }
        let client = try ConformanceClient(harness, mode, contexts: [allocation])
        let gibibyte: UInt64 = 1 << 30
        #expect(
          try client.status(allocation, at: 0, length: 0xffff_ffff) == [
            .init(gibibyte, 2), .init(gibibyte, 3), .init(gibibyte, 2), .init(gibibyte - 1, 3),
          ])
        #expect(try client.status(allocation, at: 1 << 39, length: 0xffff_fe00).count == 4)
        await harness.on { $0.device.layout = [BlockExtent(byteCount: .max, isAllocated: false, isZero: true)] }
        #expect(try client.status(allocation, at: 512, length: 0xffff_ffff) == [.init(0xffff_ffff, 3)])
        if mode == .extended {
          #expect(try client.status(allocation, at: 0, length: 1 << 40) == [.init(1 << 40, 3)])
          #expect(try client.status(allocation, at: 1, length: 1 << 40 - 1, flags: 8) == [.init(1 << 40 - 1, 3)])
          #expect(try client.error(7, at: 1, length: 1 << 40) == 22)
          #expect(try client.error(7, at: 1, length: .max) == 22)
        }
      }
    }

    @Test(arguments: Mode.allCases) func withoutContextsItIsRefused(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        #expect(try client.error(7, length: 512) == 22)
        if mode.hasChunks { #expect(try ConformanceClient(harness, mode, contexts: ["x:y"]).error(7, length: 512) == 22) }
      }
    }

    @Test(arguments: Mode.withChunks) func whatIsNotValidIsRefused(mode: Mode) async throws {
      try await run(mode, [allocation]) { harness, client in
        let size: UInt64 = 8 << 20
        #expect(try client.error(7, at: size - 1, length: 2) == 22)
        #expect(try client.error(7, at: size, length: 1) == 22)
        #expect(try client.error(7, at: .max, length: 0xffff_ffff) == 22)
        #expect(try client.error(7, at: 0, length: 0) == 22)
        for flags in [UInt16(2), 4, 16, 64, 1 << 15] { #expect(try client.error(7, length: 512, flags: flags) == 22) }
        await harness.on { $0.device.failure = BlockError(.ioFailed) }
        let failed = try client.error(7, length: 512)
        #expect(failed == 5)
        await harness.on { $0.device.failure = nil }
        #expect(try client.status(allocation, at: 0, length: 512) == [.init(512, 0)])
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
      }
    }

    @Test(arguments: Mode.withChunks) func aReadOnlyExportTellsItsStatus(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        await harness.on { $0.directory.readOnlyNames = ["disk"] }
        let client = try ConformanceClient(harness, mode, contexts: [allocation])
        #expect(try client.status(allocation, at: 0, length: 512) == [.init(512, 0)])
      }
    }

    /// A device that tells nothing, or more than it was asked.
    @Test func anUnexpectedAnswerOfTheDeviceStaysWithinTheProtocol() throws {
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: WireLimits.statusReplyByteCount, alignment: 16)
      defer { memory.deallocate() }
      let tooLong = [BlockExtent](repeating: BlockExtent(byteCount: .max, isAllocated: false, isZero: true, row: .max), count: 3)
      let alternating = (0..<5000).map { BlockExtent(byteCount: 1, isAllocated: $0 % 2 == 0, isZero: false, row: UInt64($0)) }
      let none = [BlockExtent(byteCount: 0, isAllocated: false, isZero: true)]
      for extents in [[], none, tooLong, alternating] {
        for style in [MessageStyle.structured, .extended] {
          for flags in [CommandFlags(), .requestOne] {
            let header = RequestHeader(flags: flags, type: 7, cookie: 1, offset: 0, length: 1 << 20)
            var writer = StatusWriter(memory.baseAddress!, style, header)
            for context in MetaContext.allCases { writer.append(context, extents, isLast: context == .slab) }
            #expect(writer.byteCount <= memory.count)
            var reply = Reply()
            let asked = Asked(type: 7, cookie: 1, offset: 0, byteCount: 1 << 20, flags: flags.rawValue, contexts: [1, 2])
            for chunk in chunks(Array(memory[..<writer.byteCount]), style) { try reply.take(chunk, for: asked) }
            #expect(reply.status.count == 2)
          }
        }
      }
    }

    private func chunks(_ bytes: [UInt8], _ style: MessageStyle) -> [Chunk] {
      var chunks: [Chunk] = []
      var position = 0
      while position < bytes.count {
        let isExtended = style == .extended
        let byteCount = isExtended ? Int(integer(bytes, position + 24) as UInt64) : Int(integer(bytes, position + 16) as UInt32)
        let payload = position + (isExtended ? 32 : 20)
        chunks.append(
          Chunk(
            flags: integer(bytes, position + 4), type: integer(bytes, position + 6), cookie: 1,
            offset: isExtended ? integer(bytes, position + 16) : nil, payload: Array(bytes[payload..<payload + byteCount])))
        position = payload + byteCount
      }
      return chunks
    }
  }
}
