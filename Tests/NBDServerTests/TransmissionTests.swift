import BlockDevice
import CLinux
import Testing

@testable import NBDServer

extension ServerTests {
  @Suite struct TransmissionTests {
    @Test func everyCommandReachesTheDeviceWithItsFlags() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(try client.write(bytes, at: 777) == 0)
        #expect(try client.write(bytes, at: 5000, flags: 1) == 0)
        #expect(try client.read(at: 777, length: 1000) == bytes)
        #expect(try client.read(at: 5000, length: 1000, flags: 1) == bytes)
        #expect(try client.perform(3) == 0)
        #expect(try client.perform(3, flags: 1) == 0)
        #expect(try client.perform(4, at: 777, length: 10) == 0)
        #expect(try client.perform(4, at: 787, length: 10, flags: 1) == 0)
        #expect(try client.perform(6, at: 5000, length: 10) == 0)
        #expect(try client.perform(6, at: 5010, length: 10, flags: 1) == 0)
        #expect(try client.perform(6, at: 5020, length: 10, flags: 2) == 0)
        #expect(try client.perform(6, at: 5030, length: 10, flags: 3) == 0)
        #expect(try client.read(at: 770, length: 40) == [UInt8](repeating: 0, count: 27) + bytes[20..<33])
        let both: IOFlags = [.forceUnitAccess, .keepAllocated]
        let calls = await harness.on { $0.device.calls }
        #expect(
          calls == [
            .init(operation: .write, offset: 777, byteCount: 1000),
            .init(operation: .write, offset: 5000, byteCount: 1000, flags: .forceUnitAccess),
            .init(operation: .read, offset: 777, byteCount: 1000), .init(operation: .read, offset: 5000, byteCount: 1000),
            .init(operation: .flush), .init(operation: .flush),
            .init(operation: .discard, offset: 777, byteCount: 10),
            .init(operation: .discard, offset: 787, byteCount: 10, flags: .forceUnitAccess),
            .init(operation: .writeZeroes, offset: 5000, byteCount: 10),
            .init(operation: .writeZeroes, offset: 5010, byteCount: 10, flags: .forceUnitAccess),
            .init(operation: .writeZeroes, offset: 5020, byteCount: 10, flags: .keepAllocated),
            .init(operation: .writeZeroes, offset: 5030, byteCount: 10, flags: both),
            .init(operation: .read, offset: 770, byteCount: 40),
          ])
      }
    }

    @Test func badRequestsAreRefusedAndAWritesPayloadIsReadAllTheSame() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        let size = UInt64(ServerHarness.exportByteCount)
        let payload = [UInt8](repeating: 9, count: 100_000)
        #expect(try client.write(payload, at: size - 99_999) == 28)
        #expect(try client.write(payload, at: .max) == 28)
        #expect(try client.write(payload, at: 0, flags: 2) == 22)
        #expect(try client.write(payload, at: 0, flags: 1 << 15) == 22)
        #expect(try client.perform(6, at: size, length: 1) == 28)
        #expect(try client.perform(6, at: 0, length: .max) == 28)
        #expect(try client.perform(4, at: size, length: 1) == 22)
        #expect(try client.perform(0, at: size - 1, length: 2) == 22)
        #expect(try client.perform(0, at: .max, length: .max) == 22)
        #expect(try client.perform(0, at: 0, length: 512, flags: 4) == 22)
        for type in [UInt16(7), 8, 0xffff] { #expect(try client.perform(type, length: 512) == 22) }
        #expect(await harness.on { $0.device.calls.isEmpty })
        #expect(try client.perform(3) == 0)
      }
    }

    @Test func theLargestRequestsAreServedAndLargerOnesRefused() async throws {
      try await ServerHarness.run(byteCount: 80 << 20) { harness in
        let client = try harness.enter()
        let payload = (0..<UInt8(32)).flatMap { [UInt8](repeating: $0 + 1, count: 1 << 20) }
        #expect(try client.write(payload, at: 511) == 0)
        let back = try client.read(at: 511, length: 32 << 20)
        #expect(memcmp(back, payload, payload.count) == 0)
        #expect(try client.perform(0, length: 32 << 20 + 1) == 22)
        #expect(try client.perform(4, length: 80 << 20) == 0)
        #expect(try client.perform(6, length: 80 << 20) == 0)
        #expect(try client.write([UInt8](repeating: 1, count: 32 << 20 + 1), at: 0) == 22)
        #expect(try client.perform(3) == 0)
        try client.send(RawClient.request(1, length: 64 << 20 + 1))
        #expect(client.isClosedByServer())
        await harness.until("its buffers are free") { $0.reactor.buffers.heldCount == 0 }
      }
    }

    @Test func anExportThatGrewTakesRequestsUpToItsNewSize() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shape.byteCount = 512 }
        #expect(try client.perform(0, at: 512, length: 512) == 22)
        await harness.on { $0.device.shape.byteCount = 1024 }
        #expect(try client.read(at: 512, length: 512) == [UInt8](repeating: 0, count: 512))
      }
    }

    // MARK: Many at once

    @Test func onehundredtwentyeightRequestsArePipelinedAndAnsweredByTheirCookies() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        var bytes: [UInt8] = []
        for index in 0..<64 {
          let payload = [UInt8](repeating: UInt8(index + 1), count: 3000)
          bytes += RawClient.request(1, cookie: UInt64(index), at: UInt64(index) * 4096, length: 3000, payload: payload)
          bytes += RawClient.request(0, cookie: UInt64(index) | 1 << 63, at: 600_000 + UInt64(index) * 512, length: 512)
        }
        try client.send(bytes)
        await harness.until("all are in the device") { $0.device.waitingCount == 128 }
        #expect(await harness.on { $0.server.statistics.connections[0].requestsInFlight } == 128)
        #expect(client.isSilent())
        await harness.on { $0.device.openGate() }
        var cookies: Set<UInt64> = []
        for _ in 0..<128 {
          let reply = try client.receiveReply()
          #expect(reply.error == 0)
          cookies.insert(reply.cookie)
          if reply.cookie >> 63 == 1 { #expect(try client.receive(512) == [UInt8](repeating: 0, count: 512)) }
        }
        let writes = Set(UInt64(0)..<64)
        #expect(cookies == writes.union(writes.map { $0 | 1 << 63 }))
        for index in 0..<64 {
          #expect(try client.read(at: UInt64(index) * 4096, length: 3000) == [UInt8](repeating: UInt8(index + 1), count: 3000))
        }
      }
    }

    @Test func headersMayComeByteByByteAndInOnePieceWithPayloads() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        let payload = (0..<10).map { UInt8($0 + 1) }
        for byte in RawClient.request(1, cookie: 5, at: 100, length: 10, payload: payload) { try client.send([byte]) }
        let reply = try client.receiveReply()
        #expect(reply == (0, 5))
        // More than the staging memory holds, cut at every kind of place.
        var random = SeededGenerator(seed: 7)
        var stream: [UInt8] = []
        var expected = [UInt8](repeating: 0, count: 100_000)
        for _ in 0..<200 {
          let offset = Int.random(in: 0..<90_000, using: &random)
          let data = (0..<Int.random(in: 1...5000, using: &random)).map { _ in UInt8.random(in: 0 ... .max, using: &random) }
          stream += RawClient.request(1, cookie: 9, at: UInt64(offset), length: UInt32(data.count), payload: data)
          expected.replaceSubrange(offset..<offset + data.count, with: data)
          stream += RawClient.request(3, cookie: 9)
        }
        expected.removeLast(expected.count - 100_000)
        var sent = 0
        while sent < stream.count {
          let next = min(stream.count, sent + Int.random(in: 1...9000, using: &random))
          try client.send(Array(stream[sent..<next]))
          sent = next
        }
        for _ in 0..<400 { #expect(try client.receiveReply() == (0, 9)) }
        #expect(try client.read(at: 0, length: 90_000)[200...] == expected[200..<90_000])
      }
    }

    @Test func moreRequestsThanTheLimitWaitInTheSocketAndAreAllServed() async throws {
      var limits = NBDLimits()
      limits.requestsInFlight = 4
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        for index in 0..<200 { try client.send(RawClient.request(0, cookie: UInt64(index), length: 512)) }
        await harness.until("the limit is reached") { $0.device.waitingCount == 4 }
        #expect(await harness.on { $0.server.statistics.connections[0].requestsInFlight } == 4)
        await harness.on { $0.device.openGate() }
        for _ in 0..<200 {
          #expect(try client.receiveReply().error == 0)
          _ = try client.receive(512)
        }
        #expect(await harness.on { $0.server.statistics.connections[0].requests } == 200)
      }
    }

    @Test func moreBytesThanTheLimitWaitInTheSocketAndAreAllServed() async throws {
      var limits = NBDLimits()
      limits.bytesInFlight = 100_000
      try await ServerHarness.run(limits: limits) { harness in
        let client = try harness.enter()
        await harness.on { $0.device.shutGate() }
        for _ in 0..<9 { try client.send(RawClient.request(0, length: 40_000)) }
        try client.send(RawClient.request(0, length: 500_000))  // more than the limit by itself: alone, it is served
        await harness.until("the limit is reached") { $0.device.waitingCount == 2 }
        #expect(await harness.on { $0.server.statistics.connections[0].bytesInFlight } == 80_000)
        await harness.on { $0.device.openGate() }
        for index in 0..<10 {
          #expect(try client.receiveReply().error == 0)
          _ = try client.receive(index == 9 ? 500_000 : 40_000)
        }
      }
    }
  }
}
