import BlockDevice
import Testing

@testable import NBDServer

extension ServerTests {
  /// What other servers have got wrong once, in every mode. Those of the handshake alone are in HandshakeTests and OptionCases.
  @Suite struct MistakeCases {
    /// Opens a conversation in `mode`, up to transmission.
    private func opening(_ mode: Mode) -> [UInt8] {
      var bytes = bigEndian(UInt32(3))
      if let option = mode.option {
        bytes += RawClient.option(option) + RawClient.option(9, RawClient.metaQuery("disk", ["base:"]))
        bytes += RawClient.option(10, RawClient.metaQuery("disk", ["base:allocation", "spaceport:slab"]))
      }
      return bytes + RawClient.option(7, RawClient.query("disk", [1, 3]))
    }

    private func request(_ mode: Mode, _ type: UInt16, at offset: UInt64, length: UInt64, flags: UInt16 = 0) -> [UInt8] {
      let payload = type == 1 ? [UInt8](repeating: 7, count: Int(length)) : []
      return mode == .extended
        ? RawClient.extendedRequest(type, at: offset, length: length, flags: type == 1 ? flags | 32 : flags, payload: payload)
        : RawClient.request(type, at: offset, length: UInt32(length), flags: flags, payload: payload)
    }

    /// nbd-server 2013, qemu 2017: a client that hangs up ended the server.
    @Test(arguments: Mode.allCases) func hangingUpAnywhereHarmsNobody(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        var bytes = opening(mode)
        for type in UInt16(0)...8 where type != 2 { bytes += request(mode, type, at: 512, length: type == 3 ? 0 : 512) }
        for length in 0...bytes.count {
          let client = try harness.connect()
          try client.send(Array(bytes[..<length]))
          client.close()
        }
        await harness.until("all are gone") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openCount } == 0)
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
        #expect(try ConformanceClient(harness, mode).error(3) == 0)
      }
    }

    /// qemu 2024: closing raced with I/O in flight.
    @Test(arguments: Mode.allCases) func hangingUpWithEverythingInFlightWaitsForTheDevice(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        await harness.on {
          $0.device.cacheByteCount = 1 << 20
          $0.device.layout = (0..<8).map { BlockExtent(byteCount: 4096, isAllocated: true, isZero: $0 % 2 == 1) }
          $0.device.shutGate()
        }
        let client = try ConformanceClient(harness, mode, contexts: mode.hasChunks ? ["base:allocation", "spaceport:slab"] : [])
        var count = 0
        for type in [UInt16(0), 1, 3, 4, 5, 6, 7] where mode.hasChunks || type != 7 {
          let length: UInt64 = type == 3 ? 0 : 40_000
          try client.send(type, at: type == 3 ? 0 : 512, length: length, payload: type == 1 ? [UInt8](repeating: 1, count: 40_000) : [])
          count += 1
        }
        let all = count
        await harness.until("all are in the device") { $0.device.waitingCount == all }
        client.raw.close()
        await harness.until("the server has noticed") { $0.server.statistics.connections.first?.hasLeft == true }
        #expect(await harness.on { $0.directory.openCount } == 1, "the export stays open while it is used")
        await harness.on { $0.device.openGate() }
        await harness.until("the client is forgotten") { $0.server.statistics.connections.isEmpty }
        #expect(await harness.on { $0.directory.openCount } == 0)
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
      }
    }

    /// nbd-server 2005 and 2011: a length check that got lost. qemu 2020: an assertion near the largest size.
    @Test(arguments: Mode.allCases) func lengthsAtEveryEdgeAreJudged(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode, contexts: mode.hasChunks ? ["base:allocation"] : [])
        let size = UInt64(ServerHarness.exportByteCount)
        let most: UInt64 = mode == .extended ? .max : 0xffff_ffff
        var lengths: [UInt64] = [1, size - 1, size, size + 1, 32 << 20, 32 << 20 + 1, 64 << 20, 1 << 31 - 1, 1 << 31, most - 1, most]
        if mode == .extended { lengths += [1 << 32 - 1, 1 << 32, 1 << 63 - 1, 1 << 63] }
        for length in lengths {
          for offset in [UInt64(0), 1, size - 1, size, size + 1, 1 << 31, 1 << 32, 1 << 63 - 1, 1 << 63, .max - length, .max] {
            for type in [UInt16(0), 4, 5, 6, 7] where mode.hasChunks || type != 7 {
              let fits = offset <= size && length <= size - offset
              let error = try client.error(type, at: offset, length: length)
              let tooLong: UInt32 = length > 32 << 20 && type == 0 && mode.hasChunks ? 75 : 22
              #expect(error == (fits ? 0 : type == 6 ? 28 : tooLong), "command \(type) at \(offset), \(length) bytes")
            }
          }
        }
        let calls = await harness.on { $0.device.calls }
        #expect(calls.allSatisfy { $0.offset <= size && $0.byteCount <= size - $0.offset })
      }
    }

    /// No input from a client reaches a trap: options and requests of every kind, damaged.
    @Test(arguments: Mode.allCases) func seededGarbageEndsInAnErrorOrAClosedConnection(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        await harness.on { $0.device.cacheByteCount = 1 << 20 }
        var random = SeededGenerator(seed: 77)
        var sample = opening(mode)
        let head = sample.count
        for type in UInt16(0)...8 where type != 2 {
          for flags in [UInt16(0), 4, 8, 16] { sample += request(mode, type, at: 512, length: type == 3 ? 0 : 1024, flags: flags) }
        }
        for round in 0..<300 {
          let client = try harness.connect()
          var bytes = sample
          // Every second time the handshake is left alone, so that the requests are reached.
          let from = round % 2 == 0 ? 4 : head
          for _ in 0..<Int.random(in: 1...6, using: &random) {
            bytes[Int.random(in: from..<bytes.count, using: &random)] = UInt8.random(in: 0 ... .max, using: &random)
          }
          try? client.send(bytes)  // the server may already have closed
          client.shutdownWrites()
          await harness.until("garbage is digested") { $0.server.statistics.connections.isEmpty }
        }
        #expect(await harness.on { $0.reactor.buffers.heldCount } == 0)
        #expect(await harness.on { $0.device.calls.count } > 0)
        #expect(try ConformanceClient(harness, mode).error(3) == 0)
      }
    }

    /// A FLUSH covers what was answered on every connection, whatever mode it speaks.
    @Test func aFlushCoversWritesOfOtherModes() async throws {
      try await ServerHarness.run { harness in
        let clients = try Mode.allCases.map { try ConformanceClient(harness, $0) }
        for (index, client) in clients.enumerated() {
          #expect(client.transmissionFlags & 256 != 0)
          #expect(try client.write([UInt8(index + 1)], at: UInt64(index)) == 0)
        }
        #expect(try clients[2].error(3) == 0)
        #expect(await harness.on { $0.device.calls.map(\.operation) } == [.write, .write, .write, .flush])
        for client in clients { #expect(try client.read(at: 0, length: 3).bytes == [1, 2, 3]) }
      }
    }

    @Test(arguments: Mode.allCases) func disconnectAnswersWhatIsInFlight(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let client = try ConformanceClient(harness, mode, overTCP: true)
        await harness.on { $0.device.shutGate() }
        try client.send(0, length: 512)
        try client.send(2)
        await harness.until("the read is in the device") { $0.device.waitingCount == 1 }
        await harness.on { $0.device.openGate() }
        #expect(try client.receive().bytes.count == 512)
        #expect(client.raw.isClosedByServer())
      }
    }
  }
}
