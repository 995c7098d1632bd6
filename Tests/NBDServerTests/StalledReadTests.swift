import BlockDevice
import Testing

@testable import NBDServer

extension ServerTests {
  /// READs whose disk was given up: their buffers are lost, and nothing of them may reach the client.
  @Suite struct StalledReadTests {
    private static let payload = [UInt8]((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7 + 1) })

    @Test(arguments: [false, true]) func aReadIsAskedAgainWithAnotherBuffer(silently: Bool) async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        #expect(try client.write(StalledReadTests.payload, at: 4096) == 0)
        for stalls in 1...WireLimits.stalledReadRetries {
          await harness.on {
            $0.device.stallsSilently = silently
            $0.device.stalls = stalls
          }
          #expect(try client.read(at: 4096, length: 4096) == StalledReadTests.payload)
          #expect(await harness.on { $0.device.keptBySystemCount } == stalls)
          #expect(await harness.on { $0.reactor.buffers.heldCount } >= stalls, "the system's buffers stay held")
          await harness.on { $0.device.landStalledReads() }
        }
        await harness.until("every buffer is free") { $0.reactor.buffers.heldCount == 0 }
      }
    }

    @Test func afterTooManyStallsTheClientIsToldAndTheConnectionGoesOn() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.stalls = WireLimits.stalledReadRetries + 1 }
        #expect(try client.perform(0, at: 0, length: 4096) == 5)
        #expect(await harness.on { $0.device.calls.count } == WireLimits.stalledReadRetries + 1)
        #expect(try client.read(at: 0, length: 4096) == [UInt8](repeating: 0, count: 4096))
        await harness.on { $0.device.landStalledReads() }
        await harness.until("every buffer is free") { $0.reactor.buffers.heldCount == 0 }
      }
    }

    /// Late bytes land while many other reads are answered from the buffers around.
    @Test func lateBytesReachNoOtherRequest() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        #expect(try client.write(StalledReadTests.payload, at: 0) == 0)
        for round in 0..<200 {
          await harness.on { $0.device.stalls = round % 3 == 0 ? 2 : 0 }
          #expect(try client.read(at: 0, length: 4096) == StalledReadTests.payload)
          if round % 7 == 0 { await harness.on { $0.device.landStalledReads() } }
        }
        await harness.on { $0.device.landStalledReads() }
        await harness.until("every buffer is free") { $0.reactor.buffers.heldCount == 0 }
      }
    }

    @Test func otherRequestsThatStallFailWithEIO() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.enter()
        await harness.on { $0.device.failure = BlockError(.stalled) }
        #expect(try client.write([1, 2, 3], at: 0) == 5)
        for type in [UInt16(3), 4, 6] { #expect(try client.perform(type, length: type == 3 ? 0 : 512) == 5) }
      }
    }
  }
}
