import BlockDevice
import Testing

@testable import NBDServer

extension ServerTests {
  /// Extended headers: 64-bit lengths, and payloads that a flag announces.
  @Suite struct ExtendedCases {
    @Test func lengthsBeyond32BitsReachTheDevice() async throws {
      try await ServerHarness.run { harness in
        await harness.on { $0.device.shape.byteCount = 1 << 50 }
        let client = try ConformanceClient(harness, .extended)
        await harness.on { $0.device.failure = BlockError(.noSpace) }  // its content is shorter
        for (type, operation) in [(UInt16(4), BlockOperation.discard), (6, .writeZeroes)] {
          #expect(try client.error(type, at: 512, length: 1 << 49) == 28)
          #expect(await harness.on { $0.device.calls.last } == .init(operation: operation, offset: 512, byteCount: 1 << 49))
        }
        #expect(try client.error(5, at: 512, length: 1 << 49) == 0)
        #expect(try client.error(0, length: 1 << 32) == 75)
        #expect(try client.error(0, length: 1 << 32 + 512) == 75)
        for type in [UInt16(4), 5] { #expect(try client.error(type, at: 1, length: 1 << 50) == 22) }
        #expect(try client.error(6, at: 1, length: 1 << 50) == 28)
        #expect(try client.error(6, at: .max, length: .max) == 28)
        #expect(await harness.on { $0.device.calls.count } == 2)
      }
    }

    @Test func aWriteNeedsThePayloadFlag() async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, .extended)
        try client.raw.send(RawClient.extendedRequest(1, cookie: 5, length: 512))  // and nothing behind it
        let header = try client.raw.receive(32)
        #expect((integer(header, 8) as UInt64) == 5 && (integer(header, 6) as UInt16) == 0x8001)
        #expect((integer(try client.raw.receive(Int(integer(header, 24) as UInt64)), 0) as UInt32) == 22)
        #expect(try client.write([1, 2, 3], at: 0) == 0)
        #expect(await harness.on { $0.device.calls.count } == 1)
      }
    }

    @Test func payloadsWhereNoneBelongAreReadAndRefused() async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, .extended)
        for type in [UInt16(0), 3, 4, 5, 6, 7, 8, 0xffff] {
          for count in [1, 12, 4096, 100_000] {
            let payload = [UInt8](repeating: 0x21, count: count)
            #expect(try client.error(type, length: UInt64(count), flags: 32, payload: payload) == 22)
          }
        }
        #expect(await harness.on { $0.device.calls.isEmpty })
        #expect(try client.error(3) == 0)
      }
    }

    @Test(arguments: [UInt16(0), 1, 7, 9]) func aPayloadBeyondTheLimitEndsTheConnection(type: UInt16) async throws {
      try await ServerHarness.run { harness in
        for length in [UInt64(32 << 20) + 1, 1 << 32, .max] {
          let client = try ConformanceClient(harness, .extended, contexts: ["base:allocation"])
          try client.raw.send(RawClient.extendedRequest(type, length: length, flags: 32))
          #expect(client.raw.isClosedByServer())
        }
      }
    }

    @Test(arguments: [Mode.simple, .structured, .extended]) func headersOfTheOtherFormatEndTheConnection(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        let wrong = mode == .extended ? RawClient.request(3) + [0, 0, 0, 0] : RawClient.extendedRequest(3)
        try client.raw.send(wrong)
        #expect(client.raw.isClosedByServer())
      }
    }

    @Test func compactRequestsHaveNoPayloadFlag() async throws {
      try await ServerHarness.run { harness in
        for mode in [Mode.simple, .structured] {
          let client = try ConformanceClient(harness, mode)
          #expect(try client.error(4, length: 512, flags: 32) == 22)  // no payload behind it
          #expect(try client.write([1, 2, 3], at: 0, flags: 32) == 22)
          #expect(try client.error(3) == 0)
        }
      }
    }

    // MARK: BLOCK_STATUS with a payload

    @Test func blockStatusTellsTheContextsThatAreAskedFor() async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, .extended, contexts: ["base:allocation", "spaceport:slab"])
        let ids = client.contexts.values.sorted()
        for asked in [[ids[0]], [ids[1]], ids, ids.reversed()] {
          _ = try client.sendStatus(at: 512, length: 4096, ids: asked)
          let reply = try client.receive()
          #expect(reply.error == 0 && Set(reply.status.keys) == Set(asked))
          #expect(reply.status.values.allSatisfy { $0 == [.init(4096, 0)] })
        }
        _ = try client.sendStatus(at: 0, length: 1 << 20, ids: [ids[0]], flags: 8)
        #expect(try client.receive().error == 0)
        #expect(try client.perform(7, length: 512).status.count == 2, "without a payload it tells all")
      }
    }

    @Test func aStatusPayloadThatIsNotRightIsReadAndRefused() async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, .extended, contexts: ["base:allocation"])
        let id = try #require(client.contexts.values.first)
        for ids in [[], [id, id], [id + 1], [id, id + 1], [0], [.max], [UInt32](repeating: id, count: 10_000)] {
          _ = try client.sendStatus(at: 0, length: 512, ids: ids)
          #expect(try client.receive().error == 22)
        }
        for payload in [[UInt8](repeating: 0, count: 11), [UInt8](repeating: 0, count: 13), [1]] {
          #expect(try client.error(7, length: UInt64(payload.count), flags: 32, payload: payload) == 22)
        }
        for (offset, length) in [(UInt64(1 << 20), UInt64(1)), (.max, .max), (0, 0), (0, .max)] {
          _ = try client.sendStatus(at: offset, length: length, ids: [id])
          #expect(try client.receive().error == 22)
        }
        _ = try client.sendStatus(at: 0, length: 512, ids: [id])
        #expect(try client.receive().error == 0)
        // Nothing was negotiated.
        let other = try ConformanceClient(harness, .extended)
        _ = try other.sendStatus(at: 0, length: 512, ids: [id])
        #expect(try other.receive().error == 22)
      }
    }

    @Test func aStatusPayloadMayComeByteByByte() async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, .extended, contexts: ["base:allocation"])
        let payload = bigEndian(UInt64(512)) + bigEndian(try #require(client.contexts.values.first))
        for byte in RawClient.extendedRequest(7, cookie: 3, length: 12, flags: 32, payload: payload) { try client.raw.send([byte]) }
        let header = try client.raw.receive(32)
        #expect((integer(header, 6) as UInt16) == 6 && (integer(header, 24) as UInt64) == 24)
      }
    }
  }
}
