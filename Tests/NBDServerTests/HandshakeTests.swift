import CLinux
import Testing

@testable import NBDServer

extension ServerTests {
  @Suite struct HandshakeTests {
    static let errorBase: UInt32 = 1 << 31
    private let unsupported = errorBase + 1
    private let policy = errorBase + 2
    private let invalid = errorBase + 3
    private let platform = errorBase + 4
    private let unknown = errorBase + 6
    private let shutdown = errorBase + 7
    private let tooBig = errorBase + 9
    /// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN, SEND_CACHE, SEND_FAST_ZERO
    private let flags: UInt16 = 1 | 4 | 8 | 32 | 64 | 256 | 1024 | 2048

    @Test func goAnswersSizeFlagsAndWhatWasAskedFor() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        let replies = try client.ask(7, RawClient.query("disk", [1, 2, 3]))
        #expect(replies.map(\.type) == [3, 3, 3, 3, 1])
        #expect(replies[0].data == bigEndian(UInt16(0)) + bigEndian(UInt64(1 << 20)) + bigEndian(flags))
        #expect(replies[1].data == bigEndian(UInt16(1)) + Array("disk".utf8))
        #expect(replies[2].data == bigEndian(UInt16(2)) + Array("a disk for tests".utf8))
        #expect(
          replies[3].data == bigEndian(UInt16(3)) + bigEndian(UInt32(512)) + bigEndian(UInt32(1 << 17)) + bigEndian(UInt32(32 << 20)))
        #expect(try client.perform(3) == 0)
      }
    }

    @Test func infoTellsTheSameWithoutOpeningTheExport() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        let info = try client.ask(6, RawClient.query("disk", [3]))
        #expect(await harness.on { $0.directory.openedEver } == 0)
        let go = try client.ask(7, RawClient.query("disk", [3]))
        #expect(info.map(\.data) == go.map(\.data))
        #expect(info.map(\.type) == [3, 3, 1])
        #expect(await harness.on { $0.directory.openCount } == 1)
      }
    }

    @Test(arguments: [UInt32(0), 1, 2, 3]) func exportNameEntersTransmissionWithZeroesUnlessDeclined(clientFlags: UInt32) async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet(flags: clientFlags)
        try client.send(RawClient.option(1, Array("disk".utf8)))
        let zeroes = clientFlags & 2 == 0 ? 124 : 0
        #expect(try client.receive(10 + zeroes) == bigEndian(UInt64(1 << 20)) + bigEndian(flags) + [UInt8](repeating: 0, count: zeroes))
        #expect(try client.perform(3) == 0)
      }
    }

    @Test func exportNameThatCannotBeHadClosesTheConnection() async throws {
      try await ServerHarness.run { harness in
        for name in [Array("nothing".utf8), [0xff, 0xff], [UInt8](repeating: 0x61, count: 4097)] {
          let client = try harness.connect()
          try client.greet()
          try client.send(RawClient.option(1, name))
          #expect(client.isClosedByServer())
        }
        // It has no error reply: a client would take one for the export's size and flags.
        for length in [UInt32(64 << 10) + 1, .max] {
          let client = try harness.connect()
          try client.greet()
          try client.send(bigEndian(UInt64(0x4948_4156_454f_5054)) + bigEndian(UInt32(1)) + bigEndian(length))
          #expect(client.isClosedByServer())
        }
      }
    }

    @Test func theEmptyNameIsTheDefaultExportForExportNameToo() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        try client.send(RawClient.option(1))
        #expect(try client.receive(10) == bigEndian(UInt64(1 << 20)) + bigEndian(flags))
        #expect(try client.perform(3) == 0)
        let device = harness.device
        await harness.on { $0.directory.devices.append(("other", device)) }
        let other = try harness.connect()
        try other.greet()
        try other.send(RawClient.option(1))
        #expect(other.isClosedByServer())
      }
    }

    @Test func theEmptyNameIsTheDefaultExportAndTheAnswerCarriesItsRealName() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        #expect(try client.ask(6, RawClient.query("", [1]))[1].data == bigEndian(UInt16(1)) + Array("disk".utf8))
        let device = harness.device
        await harness.on { $0.directory.devices.append(("other", device)) }
        #expect(try client.ask(6, RawClient.query(""))[0].type == unknown)
      }
    }

    @Test func everyRefusalHasItsNumberAndItsReasonAndTheHandshakeGoesOn() async throws {
      try await ServerHarness.run { harness in
        await harness.on {
          $0.directory.refusals = [
            "secret": ExportError(.denied, "not for you"), "broken": ExportError(.unavailable, "a disk is missing"),
            "late": ExportError(.shuttingDown, "the pool is closing"),
          ]
        }
        let client = try harness.connect()
        try client.greet()
        for (name, type, text) in [
          ("none", unknown, "there is no export 'none'"), ("secret", policy, "not for you"), ("broken", platform, "a disk is missing"),
          ("late", shutdown, "the pool is closing"),
        ] {
          for option in [UInt32(6), 7] {
            let replies = try client.ask(option, RawClient.query(name))
            #expect(replies.count == 1)
            #expect(replies[0].type == type)
            #expect(replies[0].text == text)
          }
        }
        #expect(try client.ask(7, RawClient.query("disk")).last?.type == 1)
      }
    }

    /// TLS_REQD is for INFO and GO of clients that may do as it says; this server has no keys.
    @Test func whereThereIsNoTLSNobodyIsToldToBeginIt() async throws {
      try await ServerHarness.run { harness in
        await harness.on { $0.directory.refusals = ["sealed": ExportError(.tlsRequired, "over TLS")] }
        let client = try harness.connect()
        try client.greet()
        for option in [UInt32(6), 7] { #expect(try client.ask(option, RawClient.query("sealed")).map(\.type) == [policy]) }
      }
    }

    @Test func listNamesAllExports() async throws {
      try await ServerHarness.run { harness in
        let device = harness.device
        await harness.on { $0.directory.devices += [("pool/größe", device), (String(repeating: "x", count: 4097), device)] }
        let client = try harness.connect()
        try client.greet()
        let replies = try client.ask(3)
        #expect(replies.map(\.type) == [2, 2, 1])
        #expect(replies[0].data == bigEndian(UInt32(4)) + Array("disk".utf8))
        #expect(replies[1].data == bigEndian(UInt32(12)) + Array("pool/größe".utf8))
        #expect(try client.ask(3, [0]).map(\.type) == [invalid])
        #expect(try client.ask(3).count == 3)
      }
    }

    @Test func unknownOptionsAreAnsweredAndTheNextOneParses() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        for number in [UInt32(4), 12, 0, 4711, .max] {
          #expect(try client.ask(number, [UInt8](repeating: 7, count: 1000)).map(\.type) == [unsupported])
        }
        #expect(try client.ask(7, RawClient.query("disk")).last?.type == 1)
      }
    }

    @Test func malformedQueriesAreInvalid() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        for data in [[], [0], bigEndian(UInt32.max), bigEndian(UInt32(4)) + Array("disk".utf8), RawClient.query("disk") + [0]] {
          #expect(try client.ask(7, data).map(\.type) == [invalid])
        }
        #expect(try client.ask(7, RawClient.query(String(repeating: "n", count: 4097))).map(\.type) == [tooBig])
        #expect(try client.ask(7, RawClient.query("disk")).last?.type == 1)
      }
    }

    @Test func abortIsAcknowledgedAndCloses() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        #expect(try client.ask(2, [1, 2, 3]).map(\.type) == [1])
        #expect(client.isClosedByServer())
      }
    }

    @Test(arguments: [UInt32(4), 0x8000_0000, 0xffff_ffff]) func unknownClientFlagsCloseTheConnection(clientFlags: UInt32) async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet(flags: clientFlags)
        #expect(client.isClosedByServer())
      }
    }

    @Test func aWrongOptionMagicClosesTheConnection() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        try client.send([UInt8](repeating: 0x47, count: 16))
        #expect(client.isClosedByServer())
      }
    }

    /// As many as a client needs that lists 1,300 exports; and not many long ones.
    @Test func optionsAndTheirBytesAreBounded() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connect()
        try client.greet()
        for _ in 0..<4096 { try #require(try client.ask(4711).map(\.type) == [unsupported]) }
        #expect(client.isClosedByServer())
        let talker = try harness.connect()
        try talker.greet()
        for _ in 0..<32 { try #require(try talker.ask(4711, [UInt8](repeating: 7, count: 64 << 10)).map(\.type) == [unsupported]) }
        try talker.send(RawClient.option(4711, [7]))
        #expect(talker.isClosedByServer())
      }
    }

    /// What docs/limits.md promises.
    @Test func theStandardLimitsAreTheDocumentedOnes() {
      let limits = NBDLimits.standard
      #expect(limits.handshakeMilliseconds == 10_000 && WireLimits.optionByteCount == 64 << 10)
      #expect(limits.options == 4096 && limits.optionByteCount == 2 << 20)
      #expect(limits.connections == 1000 && WireLimits.listenBacklog == 4096 && WireLimits.stringByteCount == 4096)
      #expect(limits.requestsInFlight == 128 && limits.bytesInFlight == 64 << 20)
      #expect(limits.requestsInFlightInAll == 16_384 && limits.bytesInFlightInAll == 240 << 20)
      #expect(limits.stallMilliseconds == 60_000 && limits.stopMilliseconds == 30_000 && limits.idleMilliseconds == 10_000)
      #expect(WireLimits.payloadByteCount == 32 << 20 && WireLimits.skippedPayloadByteCount == 64 << 20)
      #expect(WireLimits.readParts == 8 && WireLimits.statusExtents == 1000)
    }

    @Test func anOptionLongerThanTheLimitIsRefusedWithoutReadingIt() async throws {
      try await ServerHarness.run { harness in
        for length in [UInt32(64 << 10) + 1, .max] {
          let client = try harness.connect()
          try client.greet()
          try client.send(bigEndian(UInt64(0x4948_4156_454f_5054)) + bigEndian(UInt32(7)) + bigEndian(length))
          #expect(try client.receiveOptionReply().type == tooBig)
          #expect(client.isClosedByServer())
        }
        let client = try harness.connect()
        try client.greet()
        #expect(try client.ask(4711, [UInt8](repeating: 0, count: 64 << 10)).map(\.type) == [unsupported])
      }
    }

    @Test func aClientThatDawdlesInTheHandshakeIsClosedAndOthersAreNot() async throws {
      var limits = NBDLimits()
      limits.handshakeMilliseconds = 200
      limits.watchMilliseconds = 20
      try await ServerHarness.run(limits: limits) { harness in
        let served = try harness.enter()
        let silent = try harness.connect()
        let halfway = try harness.connect()
        try halfway.greet()
        try halfway.send(RawClient.option(7, RawClient.query("disk")).dropLast())
        _ = try silent.receive(18)
        #expect(silent.isClosedByServer())
        #expect(halfway.isClosedByServer())
        #expect(try served.perform(3) == 0)
        #expect(await harness.on { $0.directory.openedEver } == 1)
      }
    }

    @Test func hangingUpAtAnyByteOfTheHandshakeHarmsNobody() async throws {
      try await ServerHarness.run { harness in
        let bytes = bigEndian(UInt32(3)) + RawClient.option(3) + RawClient.option(7, RawClient.query("disk", [1, 2, 3]))
        for length in 0...bytes.count {
          let client = try harness.connect()
          try client.send(Array(bytes[..<length]))
          client.close()
        }
        let survivor = try harness.enter()
        #expect(try survivor.perform(3) == 0)
        await harness.until("the others are gone") { $0.server.statistics.connections.count == 1 }
        #expect(await harness.on { $0.directory.openCount } == 1)
      }
    }

    @Test func seededGarbageEndsInAnErrorOrAClosedConnection() async throws {
      try await ServerHarness.run { harness in
        var random = SeededGenerator(seed: 42)
        for _ in 0..<300 {
          let client = try harness.connect()
          _ = try client.receive(18)
          var bytes = bigEndian(UInt32(3)) + RawClient.option(3) + RawClient.option(7, RawClient.query("disk", [1, 2, 3]))
          for type in UInt16(0)..<8 { bytes += RawClient.request(type, at: 512, length: 64, payload: type == 1 ? Array(0..<64) : []) }
          for _ in 0..<Int.random(in: 1...5, using: &random) {
            bytes[Int.random(in: 4..<bytes.count, using: &random)] = UInt8.random(in: 0 ... .max, using: &random)
          }
          try? client.send(bytes)  // the server may already have closed
          client.shutdownWrites()
          await harness.until("garbage is digested") { $0.server.statistics.connections.isEmpty }
        }
        let survivor = try harness.enter()
        #expect(try survivor.perform(3) == 0)
      }
    }

    @Test func oneConnectionTooManyIsClosedAtOnce() async throws {
      var limits = NBDLimits()
      limits.connections = 2
      try await ServerHarness.run(limits: limits) { harness in
        let first = try harness.enter()
        let second = try harness.enter()
        #expect(try harness.connect().isClosedByServer())
        #expect(await harness.on { $0.server.statistics.refused } == 1)
        second.close()
        await harness.until("room again") { $0.server.statistics.connections.count == 1 }
        let third = try harness.enter()
        #expect(try third.perform(3) == 0)
        #expect(try first.perform(3) == 0)
      }
    }

    @Test func tcpIsServedTheSame() async throws {
      try await ServerHarness.run { harness in
        let client = try harness.connectTCP()
        try client.enter()
        #expect(try client.write(Array(0..<200), at: 300) == 0)
        #expect(try client.read(at: 300, length: 200) == Array(0..<200))
        let peer = await harness.on { $0.server.statistics.connections.first?.peer ?? "" }
        #expect(peer.hasPrefix("127.0.0.1:"))
      }
    }

    @Test func readOnlyAndRotationalExportsSaySo() async throws {
      try await ServerHarness.run { harness in
        let reactor = harness.reactor
        await harness.on { harness in
          let device = TestDevice(reactor: reactor, byteCount: 4096, isReadOnly: true, isRotational: true)
          harness.directory.devices += [("platter", device), ("look", harness.device)]
          harness.directory.readOnlyNames = ["look"]
        }
        let client = try harness.connect()
        try client.greet()
        let constant: UInt16 = 1 | 2 | 4 | 8 | 256 | 1024  // HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, CAN_MULTI_CONN, SEND_CACHE
        #expect(try client.ask(6, RawClient.query("platter"))[0].data.suffix(2) == bigEndian(constant | 16)[...])
        #expect(try client.ask(6, RawClient.query("look"))[0].data.suffix(2) == bigEndian(constant)[...])
      }
    }
  }
}
