import BlockDevice
import Testing

@testable import NBDServer

extension ServerTests {
  /// The options that choose how replies look and what BLOCK_STATUS tells.
  @Suite struct OptionCases {
    private let invalid: UInt32 = 1 << 31 + 3
    private let unknown: UInt32 = 1 << 31 + 6
    private let tooBig: UInt32 = 1 << 31 + 9
    private let extendedRequired: UInt32 = 1 << 31 + 10
    private let allocation = RawClient.metaQuery("disk", ["base:allocation"])

    private func greeted(_ harness: ServerHarness, _ options: UInt32...) throws -> RawClient {
      let client = try harness.connect()
      try client.greet()
      for option in options { #expect(try client.ask(option).map(\.type) == [1]) }
      return client
    }

    private func names(_ replies: [RawClient.OptionReply]) -> [String] {
      replies.dropLast().map { String(decoding: $0.data[4...], as: UTF8.self) }
    }

    @Test(arguments: [UInt32(8), 11]) func optionsThatTakeNoDataRefuseIt(option: UInt32) async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness)
        #expect(try client.ask(option, [0]).map(\.type) == [invalid])
        let flags = try client.ask(6, RawClient.query("disk"))[0].data.suffix(2)
        #expect((integer(Array(flags), 0) as UInt16) & 1 << 7 == 0, "a refused option changes nothing")
        #expect(try client.ask(option).map(\.type) == [1])
        #expect(try client.ask(option).map(\.type) == [1])
      }
    }

    @Test func afterExtendedHeadersThereIsNoWayBack() async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness, 8, 11)
        #expect(try client.ask(8).map(\.type) == [extendedRequired])
        #expect(try client.ask(7, RawClient.query("disk")).last?.type == 1)
        try client.send(RawClient.extendedRequest(3, cookie: 9))
        #expect(try client.receive(4) == bigEndian(UInt32(0x6e8a_278c)))
        let other = try greeted(harness, 11)
        try other.send(RawClient.option(1, Array("disk".utf8)))  // EXPORT_NAME
        #expect(other.isClosedByServer())
      }
    }

    @Test func flagsFollowWhatWasNegotiated() async throws {
      try await ServerHarness.run { harness in
        let common: UInt16 = 1 | 4 | 8 | 32 | 64 | 256 | 1024 | 2048
        let simple = try ConformanceClient(harness, .simple)
        #expect(simple.transmissionFlags == common)
        #expect(try ConformanceClient(harness, .structured).transmissionFlags == common | 128)
        #expect(try ConformanceClient(harness, .structured, contexts: ["base:allocation"]).transmissionFlags == common | 128)
        #expect(try ConformanceClient(harness, .extended).transmissionFlags == common | 128)
        #expect(try ConformanceClient(harness, .extended, contexts: ["x:y"]).transmissionFlags == common | 128)
        #expect(try ConformanceClient(harness, .extended, contexts: ["spaceport:slab"]).transmissionFlags == common | 128 | 4096)
      }
    }

    @Test func infoThenGoTellTheSame() async throws {
      try await ServerHarness.run { harness in
        for mode in Mode.withChunks {
          let client = try greeted(harness, mode.option!)
          _ = try client.ask(10, allocation)
          let info = try client.ask(6, RawClient.query("disk", [1, 3]))
          #expect(try client.ask(7, RawClient.query("disk", [1, 3])).map(\.data) == info.map(\.data))
        }
      }
    }

    // MARK: Meta contexts

    @Test(arguments: [UInt32(9), 10]) func metaContextsNeedStructuredReplies(option: UInt32) async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness)
        #expect(try client.ask(option, allocation).map(\.type) == [invalid])
        for next in [UInt32(8), 11] {
          _ = try client.ask(next)
          #expect(try client.ask(option, allocation).map(\.type) == [4, 1])
        }
      }
    }

    @Test func listNamesWhatThereIs() async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness, 8)
        func list(_ queries: String...) throws -> [String] { names(try client.ask(9, RawClient.metaQuery("disk", queries))) }
        #expect(try list() == ["base:allocation", "spaceport:slab"])
        #expect(try list("base:") == ["base:allocation"])
        #expect(try list("spaceport:") == ["spaceport:slab"])
        #expect(try list("base:allocation", "base:", "base:allocation") == ["base:allocation"])
        #expect(try list("base:other", "qemu:dirty-bitmap:", "x-test:", "BASE:", "base:allocation2").isEmpty)
        for reply in try client.ask(9, RawClient.metaQuery("disk", [])).dropLast() { #expect(reply.data[..<4] == [0, 0, 0, 0]) }
        #expect(await harness.on { $0.directory.openedEver } == 0, "the back end waits until the client has negotiated")
      }
    }

    @Test func setSelectsWholeNamesWithIDsOfTheirOwn() async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness, 8)
        func set(_ queries: String...) throws -> [RawClient.OptionReply] { try client.ask(10, RawClient.metaQuery("disk", queries)) }
        #expect(names(try set()).isEmpty)
        #expect(names(try set("base:", "spaceport:", "qemu:allocation-depth", ":", "a:b:c")).isEmpty)
        let both = try set("spaceport:slab", "base:allocation", "base:allocation")
        #expect(Set(names(both)) == ["base:allocation", "spaceport:slab"])
        #expect(Set(both.dropLast().map { $0.data[..<4] }).count == 2)
        #expect(await harness.on { $0.directory.openedEver } == 0)
      }
    }

    @Test(arguments: [UInt32(9), 10]) func malformedQueriesAreRefusedAndTheNextOptionParses(option: UInt32) async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness, 8)
        let one = bigEndian(UInt32(1))
        let name = bigEndian(UInt32(4)) + Array("disk".utf8)
        for data in [
          [], [0], bigEndian(UInt32.max), name, name + one, name + one + bigEndian(UInt32.max), name + one + bigEndian(UInt32(5)) + [1],
          allocation + [0], name + bigEndian(UInt32.max), name + bigEndian(UInt32(2)) + bigEndian(UInt32(2)) + Array("a:".utf8),
          RawClient.metaQuery("disk", ["no-colon"]), RawClient.metaQuery("disk", [""]), name + one + one + [0xff],
          name + one + bigEndian(UInt32(2)) + [0x3a, 0], bigEndian(UInt32(1)) + [0xff] + bigEndian(UInt32(0)),
        ] { #expect(try client.ask(option, data).map(\.type) == [invalid]) }
        let long = String(repeating: "x", count: 4096)
        #expect(try client.ask(option, RawClient.metaQuery("disk", [long + ":"])).map(\.type) == [tooBig])
        #expect(try client.ask(option, RawClient.metaQuery(long + "x", [])).map(\.type) == [tooBig])
        #expect(try client.ask(option, RawClient.metaQuery("none", ["base:allocation"])).map(\.type) == [unknown])
        #expect(try client.ask(option, allocation).map(\.type) == [4, 1])
      }
    }

    @Test func thousandsOfQueriesAreOneOption() async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness, 8)
        let many = [String](repeating: "x-a:b", count: 7000) + ["base:allocation"]
        #expect(names(try client.ask(10, RawClient.metaQuery("disk", many))) == ["base:allocation"])
      }
    }

    /// With each of these between selecting and entering, BLOCK_STATUS is refused.
    @Test(arguments: Mode.withChunks) func aSelectionIsReplacedAlsoByOneThatFailsAndHoldsForOneExport(mode: Mode) async throws {
      try await ServerHarness.run { harness in
        let device = harness.device
        await harness.on { $0.directory.devices.append(("other", device)) }
        let later: [(option: UInt32, data: [UInt8])] = [
          (10, RawClient.metaQuery("disk", [])), (10, [1, 2, 3]), (10, RawClient.metaQuery("none", ["base:allocation"])),
          (10, RawClient.metaQuery("other", ["base:allocation"])), (10, RawClient.metaQuery("disk", ["x:y"])),
        ]
        for (option, data) in later {
          let client = try greeted(harness, mode.option!)
          #expect(try client.ask(10, allocation).map(\.type) == [4, 1])
          _ = try client.ask(option, data)
          #expect(try status(of: client, mode) == 22)
        }
        for (option, data) in [(UInt32(9), RawClient.metaQuery("other", [])), (6, RawClient.query("other")), (4711, [])] {
          let client = try greeted(harness, mode.option!)
          #expect(try client.ask(10, allocation).map(\.type) == [4, 1])
          _ = try client.ask(option, data)
          #expect(try status(of: client, mode) == 0)
        }
      }
    }

    /// Enters, and asks once: the error.
    private func status(of client: RawClient, _ mode: Mode) throws -> UInt32 {
      try #require(try client.ask(7, RawClient.query("disk")).last?.type == 1)
      try client.send(mode == .extended ? RawClient.extendedRequest(7, length: 4096) : RawClient.request(7, length: 4096))
      let header = try client.receive(mode == .extended ? 32 : 20)
      let type: UInt16 = integer(header, 6)
      let byteCount = mode == .extended ? Int(integer(header, 24) as UInt64) : Int(integer(header, 16) as UInt32)
      let payload = try client.receive(byteCount)
      return type == 0x8001 ? integer(payload, 0) : 0
    }

    @Test func theDefaultExportsSelectionHoldsUnderItsRealName() async throws {
      try await ServerHarness.run { harness in
        let client = try greeted(harness, 8)
        #expect(try client.ask(10, RawClient.metaQuery("", ["base:allocation"])).map(\.type) == [4, 1])
        #expect(try status(of: client, .structured) == 0)
      }
    }

    /// What options have brought about is gone after STARTTLS; what the client's first flags said is not.
    @Test func whatWasNegotiatedCanBeForgotten() {
      var negotiated = Negotiated(isFixedNewstyle: true, noZeroes: true, style: .extended, keepsToBlockSizes: true)
      negotiated.metaContexts = MetaContextSelection([.init(.allocation)], of: "disk")
      negotiated.forgetOptions()
      #expect(negotiated == Negotiated(isFixedNewstyle: true, noZeroes: true))
      #expect(negotiated.metaContexts.contexts(of: "disk").isEmpty)
    }
  }
}
