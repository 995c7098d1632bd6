import BlockDevice
import CLinux
import Testing

@testable import NBDServer

extension ServerTests {
  /// Every command in every mode: what it does, and how it is refused.
  @Suite struct CommandCases {
    @Test(arguments: Mode.allCases) func commandsReachTheDeviceWithTheirFlags(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        #expect(try client.write([1, 2, 3], at: 77) == 0)
        #expect(try client.write([1, 2, 3], at: 99, flags: 1) == 0)
        #expect(try client.read(at: 76, length: 5).bytes == [0, 1, 2, 3, 0])
        #expect(try client.error(3) == 0)
        #expect(try client.error(4, at: 77, length: 1, flags: 1) == 0)
        #expect(try client.error(5, at: 77, length: 1, flags: 1) == 0)
        for flags in [UInt16(0), 1, 2, 16, 19] { #expect(try client.error(6, at: 77, length: 2, flags: flags) == 0) }
        let calls = await harness.on { $0.device.calls.filter { $0.operation != .read } }
        #expect(calls.map(\.operation) == [.write, .write, .flush, .discard] + [BlockOperation](repeating: .writeZeroes, count: 5))
        let all: IOFlags = [.forceUnitAccess, .keepAllocated, .onlyFast]
        #expect(calls.map(\.flags) == [[], .forceUnitAccess, [], .forceUnitAccess, [], .forceUnitAccess, .keepAllocated, .onlyFast, all])
      }
    }

    @Test(arguments: Mode.allCases) func badRequestsAreRefusedByTheProtocolsErrors(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        let size = UInt64(ServerHarness.exportByteCount)
        for (offset, length) in [(size - 511, UInt64(512)), (size, 1), (.max, 1), (.max, 0xffff_ffff), (1 << 63, 1 << 31)] {
          for (type, error) in [(UInt16(4), UInt32(22)), (5, 22), (6, 28)] {
            #expect(try client.error(type, at: offset, length: length) == error)
          }
        }
        #expect(try client.write([UInt8](repeating: 1, count: 100_000), at: size - 1) == 28)
        for type in [UInt16(8), 9, 0xffff] { #expect(try client.error(type, length: 512) == 22) }
        for (type, valid) in [(UInt16(3), UInt16(1)), (4, 1), (5, 1), (6, 1 | 2 | 16)] {
          for bit in 0..<16 where valid & 1 << bit == 0 && !(mode == .extended && bit == 5) {
            #expect(try client.error(type, length: type == 3 ? 0 : 512, flags: 1 << bit) == 22)
          }
        }
        #expect(try client.write([1, 2, 3], at: 0, flags: 4) == 22)
        #expect(try client.error(3, at: 1) == 22)
        #expect(try client.error(3, length: 1) == 22)
        #expect(await harness.on { $0.device.calls.isEmpty })
        #expect(try client.error(3) == 0)
      }
    }

    @Test(arguments: Mode.allCases) func aReadOnlyExportTakesNoChanges(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        await harness.on { $0.directory.readOnlyNames = ["disk"] }
        let client = try ConformanceClient(harness, mode)
        #expect(try client.write([1], at: 0) == 1)
        for type in [UInt16(4), 6] { #expect(try client.error(type, length: 512) == 1) }
        for type in [UInt16(0), 5] { #expect(try client.error(type, length: 512) == 0) }
        #expect(try client.error(3) == 0)
        #expect(await harness.on { $0.device.calls.map(\.operation) } == [.read, .flush])
      }
    }

    @Test(arguments: Mode.allCases) func aDevicesErrorFailsTheRequestAlone(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        await harness.on { $0.device.cacheByteCount = 1 << 20 }
        for (cause, number) in [
          (BlockError.Cause.ioFailed, UInt32(5)), (.corrupt, 5), (.stalled, 5), (.noSpace, 28), (.noMemory, 12), (.readOnly, 1),
          (.misaligned, 22), (.shuttingDown, 108),
        ] {
          await harness.on { $0.device.failure = BlockError(cause) }
          for type in [UInt16(0), 4, 5, 6] { #expect(try client.error(type, length: 512) == number) }
          #expect(try client.write([1, 2, 3], at: 0) == number)
          #expect(try client.error(3) == number)
        }
        await harness.on { $0.device.failure = nil }
        #expect(try client.read(at: 0, length: 3).bytes == [0, 0, 0])
      }
    }

    @Test(arguments: Mode.allCases) func requestsOfNoLengthDoNotDisconnect(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        let size = UInt64(ServerHarness.exportByteCount)
        for type in [UInt16(0), 1, 4, 5, 6] {
          #expect(try client.error(type, at: 512) == 0)
          #expect(try client.error(type, at: size, flags: 1) == 0)
          #expect(try client.error(type, at: size + 1) == (type == 1 || type == 6 ? 28 : 22))
        }
        #expect(await harness.on { $0.device.calls.isEmpty })
        #expect(try client.error(3) == 0)
      }
    }

    // MARK: FAST_ZERO

    @Test(arguments: Mode.allCases) func fastZeroFailsAtOnceAndChangesNothing(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode)
        #expect(try client.write([1, 2, 3], at: 0) == 0)
        await harness.on { $0.device.zeroesFast = false }
        for flags in [UInt16(16), 18, 17] { #expect(try client.error(6, length: 3, flags: flags) == 95) }
        #expect(try client.read(at: 0, length: 3).bytes == [1, 2, 3])
        #expect(try client.error(6, length: 3) == 0, "without the flag it never fails for want of speed")
        await harness.on { $0.device.zeroesFast = true }
        #expect(try client.error(6, length: 512, flags: 16) == 0)
        await harness.on { $0.device.failure = BlockError(.unsupported) }
        #expect(try client.error(6, length: 512) == 22)
        #expect(try client.error(4, length: 512) == 0, "TRIM is a hint")
      }
    }

    // MARK: CACHE

    @Test(arguments: Mode.allCases) func cacheReadsDataInPiecesAndNoHoles(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 4 << 20) { harness in
        await harness.on {
          $0.device.layout = [
            BlockExtent(byteCount: 1 << 20, isAllocated: true, isZero: false),
            BlockExtent(byteCount: 1 << 20, isAllocated: false, isZero: true),
          ]
        }
        let client = try ConformanceClient(harness, mode)
        #expect(try client.error(5, length: 4 << 20) == 0)
        #expect(await harness.on { $0.device.calls.isEmpty }, "there is no cache to fill")
        await harness.on { $0.device.cacheByteCount = 64 << 20 }
        #expect(try client.error(5, at: 1000, length: 3 << 20) == 0)
        let calls = await harness.on { $0.device.calls }
        #expect(calls.allSatisfy { $0.operation == .read && $0.hint == .willNeed && $0.byteCount <= WireLimits.cachePieceByteCount })
        let first: UInt64 = 1 << 20 - 1000
        let behind: UInt64 = 1 << 20 + 1000
        #expect(calls.reduce(0) { $0 + $1.byteCount } == first + behind)
        #expect(calls.dropFirst().allSatisfy { $0.offset % WireLimits.cachePieceByteCount == 0 })
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
      }
    }

    @Test func cacheReadsNoMoreThanTheCacheHolds() async throws {
      try await ServerHarness.run(byteCount: 4 << 20) { harness in
        await harness.on { $0.device.cacheByteCount = 300_000 }
        let client = try ConformanceClient(harness, .extended)
        #expect(try client.error(5, length: 4 << 20) == 0)
        let calls = await harness.on { $0.device.calls }
        #expect(calls.reduce(0) { $0 + $1.byteCount } == 300_000)
      }
    }

    @Test(arguments: Mode.allCases) func cacheEndsWithItsClient(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 4 << 20) { harness in
        await harness.on {
          $0.device.cacheByteCount = 64 << 20
          $0.device.shutGate()
        }
        let client = try ConformanceClient(harness, mode)
        try client.send(5, length: 4 << 20)
        await harness.until("it has begun") { $0.device.waitingCount == 1 }
        client.raw.close()
        // A connection whose client is gone still has this one request.
        await harness.until("the server has noticed") { $0.server.statistics.connections.first?.hasLeft == true }
        await harness.on { $0.device.openGate() }
        await harness.until("the connection has ended") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.device.calls.count } == 1)
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
      }
    }

    // MARK: Sizes

    @Test(arguments: Mode.allCases) func whoAskedForTheBlockSizesKeepsToThem(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let promised = try ConformanceClient(harness, mode, contexts: mode.hasChunks ? ["base:allocation"] : [], blockSizes: true)
        let others = try ConformanceClient(harness, mode)
        for (offset, length) in [(UInt64(1), UInt64(512)), (512, 511), (511, 1), (0, 1025)] {
          for type in [UInt16(0), 4, 5, 6, 7] where mode.hasChunks || type != 7 {
            #expect(try promised.error(type, at: offset, length: length) == 22)
            if type != 7 { #expect(try others.error(type, at: offset, length: length) == 0) }
          }
          #expect(try promised.write([UInt8](repeating: 1, count: Int(length)), at: offset) == 22)
          #expect(try others.write([UInt8](repeating: 1, count: Int(length)), at: offset) == 0)
        }
        for type in [UInt16(0), 4, 5, 6] { #expect(try promised.error(type, at: 512, length: 1024) == 0) }
        #expect(try promised.error(3) == 0)
      }
    }

    @Test(arguments: Mode.allCases) func lengthsWithoutPayloadMayExceedTheLargestPayload(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 80 << 20) { harness in
        let client = try ConformanceClient(harness, mode)
        for type in [UInt16(4), 5, 6] { #expect(try client.error(type, length: 80 << 20) == 0) }
        #expect(try client.error(6, length: 80 << 20, flags: 16) == 0)
      }
    }

    @Test(arguments: Mode.allCases) func payloadsUpToTheLimitAreTaken(mode: Mode) async throws {
      try await ServerHarness.run(byteCount: 40 << 20) { harness in
        let client = try ConformanceClient(harness, mode)
        #expect(try client.write([UInt8](repeating: 5, count: 32 << 20), at: 3) == 0)
        #expect(await harness.on { $0.device.content[3] } == 5)
        #expect(await harness.on { $0.device.content[32 << 20 + 2] } == 5)
        if mode != .extended {
          #expect(try client.write([UInt8](repeating: 6, count: 32 << 20 + 1), at: 0) == 22)
          #expect(try client.error(3) == 0)
          try client.raw.send(RawClient.request(1, length: 64 << 20 + 1))
        } else {
          try client.raw.send(RawClient.extendedRequest(1, length: 32 << 20 + 1, flags: 32))
        }
        #expect(client.raw.isClosedByServer())
        await harness.until("its buffers are free") { $0.reactor.buffers.heldCount == 0 }
      }
    }

    // MARK: Many at once

    @Test(arguments: Mode.allCases) func requestsArePipelinedAndAnsweredByTheirCookies(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode, contexts: mode.hasChunks ? ["base:allocation"] : [])
        await harness.on { $0.device.shutGate() }
        var cookies: Set<UInt64> = []
        for index in UInt64(0)..<32 {
          cookies.insert(try client.send(0, at: index * 512, length: 512))
          cookies.insert(try client.send(3))
          cookies.insert(try client.send(6, at: index * 512, length: 512))
          if mode.hasChunks { cookies.insert(try client.send(7, at: 0, length: 4096)) }
        }
        let all = cookies.count
        await harness.until("all are in the device") { $0.device.waitingCount == all }
        #expect(client.raw.isSilent())
        await harness.on { $0.device.openGate() }
        for _ in 0..<cookies.count { #expect(cookies.remove(try client.receive().cookie) != nil) }
        #expect(cookies.isEmpty)
      }
    }
  }
}
