import BlockDevice
import Testing

@testable import NBDServer

@Suite struct ParserTests {
  private func parse(_ number: UInt32, _ data: [UInt8]) -> Result<ClientOption, OptionRefusal> {
    data.withUnsafeBytes { bytes in
      do throws(OptionRefusal) { return .success(try OptionParser.parse(number: number, data: bytes)) } catch { return .failure(error) }
    }
  }

  @Test func goAndInfoNameAnExportAndTheFactsThatAreWanted() {
    let data = RawClient.query("pool/disk", [0, 1, 3, 99])
    let query = ExportQuery(name: "pool/disk", wantsName: true, wantsDescription: false, wantsBlockSize: true)
    #expect(parse(7, data) == .success(.go(query)))
    #expect(parse(6, data) == .success(.info(query)))
    #expect(parse(7, RawClient.query("")) == .success(.go(ExportQuery(name: ""))))
  }

  @Test func innerLengthsThatDoNotAddUpAreInvalid() {
    let whole = RawClient.query("disk", [1, 2])
    for length in 0..<whole.count { #expect(parse(7, Array(whole[..<length])) == .failure(.mismatch)) }
    #expect(parse(7, whole + [0]) == .failure(.mismatch))
    for length in [UInt32(5), 0x7fff_ffff, .max] { #expect(parse(7, bigEndian(length) + [1, 2, 3, 4]) == .failure(.mismatch)) }
  }

  @Test func namesAreBoundedText() {
    let longest = String(repeating: "n", count: 4096)
    #expect(parse(7, RawClient.query(longest)) == .success(.go(ExportQuery(name: longest))))
    #expect(parse(7, RawClient.query(longest + "n")) == .failure(.longName))
    #expect(parse(1, Array(longest.utf8)) == .success(.exportName(longest)))
    #expect(parse(1, Array((longest + "n").utf8)) == .failure(.longName))
    #expect(parse(1, [0xff, 0xfe]) == .failure(.badName))
    #expect(parse(7, bigEndian(UInt32(2)) + [0x61, 0] + [0, 0]) == .failure(.badName))
  }

  @Test func dataWhereNoneBelongsIsInvalidButAbortIgnoresIt() {
    #expect(parse(3, []) == .success(.list))
    guard case .failure(let refusal) = parse(3, [0]) else {
      Issue.record("LIST took data")
      return
    }
    #expect(refusal.replyType == .errorInvalid)
    #expect(parse(2, [1, 2, 3]) == .success(.abort))
  }

  @Test(arguments: [UInt32(0), 4, 12, 0xffff_ffff]) func whatIsNotSpokenIsUnsupported(number: UInt32) {
    guard case .failure(let refusal) = parse(number, [1, 2, 3]) else {
      Issue.record("option \(number) was understood")
      return
    }
    #expect(refusal.replyType == .errorUnsupported)
  }

  @Test func anOptionHeaderNeedsItsMagicAndAllItsBytes() {
    let bytes = RawClient.option(7, [1, 2, 3])
    bytes.withUnsafeBytes { whole in
      #expect(OptionHeader.decode(whole) == OptionHeader(number: 7, dataByteCount: 3))
      for length in 0..<OptionHeader.byteCount { #expect(OptionHeader.decode(UnsafeRawBufferPointer(rebasing: whole[..<length])) == nil) }
    }
    var broken = bytes
    broken[3] ^= 1
    #expect(broken.withUnsafeBytes { OptionHeader.decode($0) } == nil)
  }

  @Test func aRequestHeaderIsDecoded() {
    let bytes = RawClient.request(6, cookie: 0x0102_0304_0506_0708, at: 0x1122_3344_5566_7788, length: 0x99aa_bbcc, flags: 3)
    let header = bytes.withUnsafeBytes { RequestHeader.decode($0.baseAddress!) }
    #expect(header?.type == 6)
    #expect(header?.flags == [.forceUnitAccess, .noHole])
    #expect(header?.offset == 0x1122_3344_5566_7788)
    #expect(header?.length == 0x99aa_bbcc)
    #expect(header.map { withUnsafeBytes(of: $0.cookie) { Array($0) } } == [1, 2, 3, 4, 5, 6, 7, 8])
  }

  // MARK: Rules

  private let size = UInt64(1 << 20)

  private func judge(
    _ type: UInt16, at offset: UInt64 = 0, length: UInt64 = 512, flags: UInt16 = 0, isReadOnly: Bool = false
  ) -> Verdict {
    let header = RequestHeader(flags: CommandFlags(rawValue: flags), type: type, cookie: 0, offset: offset, length: length)
    return RequestRules(isReadOnly: isReadOnly).judge(header, exportByteCount: size)
  }

  @Test func requestsAreJudgedByTheProtocolsErrors() {
    #expect(judge(0) == .perform(.read))
    #expect(judge(0, at: size - 512) == .perform(.read))
    for (offset, length) in [(size - 511, UInt64(512)), (size, 1), (.max, 1), (.max - 511, 512), (.max, 0xffff)] {
      #expect(judge(0, at: offset, length: length) == .refuse(.invalid))
      #expect(judge(4, at: offset, length: length) == .refuse(.invalid))
      #expect(judge(1, at: offset, length: length) == .refuse(.noSpace))
      #expect(judge(6, at: offset, length: length) == .refuse(.noSpace))
    }
    for type in [UInt16(1), 4, 6] { #expect(judge(type, isReadOnly: true) == .refuse(.notPermitted)) }
    #expect(judge(0, isReadOnly: true) == .perform(.read))
    #expect(judge(3, length: 0, isReadOnly: true) == .perform(.flush))
    for type in [UInt16(8), 0xffff] { #expect(judge(type) == .refuse(.invalid)) }
    #expect(judge(7) == .refuse(.withoutContexts))
    #expect(judge(2, at: .max, length: .max, flags: .max) == .disconnect)
  }

  @Test func flagsAreAcceptedWhereTheyBelong() {
    for type in [UInt16(0), 1, 4, 6] { #expect(judge(type, flags: 1) != .refuse(.invalid)) }
    #expect(judge(3, length: 0, flags: 1) == .perform(.flush))
    #expect(judge(6, flags: 3) == .perform(.writeZeroes))
    for type in [UInt16(0), 1, 3, 4] { #expect(judge(type, length: type == 3 ? 0 : 512, flags: 2) == .refuse(.invalid)) }
    #expect(judge(6, flags: 16) == .perform(.writeZeroes))
    for bit in 2..<16 where bit != 4 {
      for type in [UInt16(0), 1, 3, 4, 5, 6] { #expect(judge(type, length: type == 3 ? 0 : 512, flags: 1 << bit) == .refuse(.invalid)) }
    }
    #expect(judge(3, length: 1) == .refuse(.flushWithRange))
    #expect(judge(3, at: 1, length: 0) == .refuse(.flushWithRange))
  }

  @Test func lengthsAreLimited() {
    let rules = RequestRules(isReadOnly: false)
    func judge(_ type: UInt16, _ length: UInt64) -> Verdict {
      rules.judge(RequestHeader(flags: [], type: type, cookie: 0, offset: 0, length: length), exportByteCount: .max)
    }
    #expect(judge(0, 32 << 20) == .perform(.read))
    #expect(judge(1, 32 << 20) == .perform(.write))
    #expect(judge(0, 32 << 20 + 1) == .refuse(.tooLong))
    #expect(judge(1, 32 << 20 + 1) == .refuse(.tooLong))
    #expect(judge(1, 64 << 20) == .refuse(.tooLong))
    #expect(judge(1, 64 << 20 + 1) == .unreadable)
    #expect(judge(0, 0xffff_ffff) == .refuse(.tooLong))
    #expect(judge(4, 0xffff_ffff) == .perform(.trim))
    #expect(judge(6, 0xffff_ffff) == .perform(.writeZeroes))
    #expect(judge(5, 0xffff_ffff) == .perform(.cache))
    for type in [UInt16(0), 1, 4, 5, 6] { #expect(judge(type, 0) == .succeed) }
  }

  /// What one error takes of a batch's memory is counted on.
  @Test func wordsOfErrorsAreShortAndPlain() {
    for error in ReplyError.allCases {
      #expect(error.message.isASCII && error.message.utf8CodeUnitCount <= WireLimits.errorMessageByteCount, "\(error)")
      #expect((error.code == 0) == (error.message.utf8CodeUnitCount == 0), "\(error)")
    }
    let parts = WireLimits.readParts * (ChunkHeader.longestByteCount + ChunkHeader.longestContentByteCount)
    #expect(WireLimits.chunkHeadersByteCount >= parts)
  }

  @Test func deviceErrorsBecomeTheProtocolsNumbers() {
    let expected: [(BlockError.Cause, ReplyError)] = [
      (.ioFailed, .inputOutput), (.corrupt, .inputOutput), (.noSpace, .noSpace), (.misaligned, .invalid), (.unsupported, .invalid),
      (.readOnly, .notPermitted), (.shuttingDown, .shuttingDown), (.noMemory, .noMemory),
    ]
    for (cause, error) in expected { #expect(ReplyError(BlockError(cause), of: .write) == error) }
    #expect(ReplyError(BlockError(.outOfRange), of: .write) == .noSpace)
    #expect(ReplyError(BlockError(.outOfRange), of: .writeZeroes) == .noSpace)
    #expect(ReplyError(BlockError(.outOfRange), of: .read) == .invalid)
    #expect(ReplyError(BlockError(.outOfRange), of: .trim) == .invalid)
    #expect(ReplyError(BlockError(.unsupported), of: .writeZeroes, flags: .fastZero) == .notSupported)
  }

  @Test func blockSizesArePowersOfTwoWithinTheProtocolsBounds() {
    func sizes(_ logical: Int, _ physical: Int, _ optimal: Int) -> [Int] {
      let geometry = BlockGeometry(byteCount: 1 << 20, logicalSector: logical, physicalSector: physical, optimalByteCount: optimal)
      let export = ExportDescription(name: "", description: "", geometry: geometry)
      return [export.minimumBlockByteCount, export.preferredBlockByteCount]
    }
    #expect(sizes(512, 512, 512) == [512, 4096])
    #expect(sizes(4096, 16384, 4096) == [4096, 16384])
    #expect(sizes(512, 4096, 3 << 18) == [512, 1 << 19])
    #expect(sizes(512, 4096, 1 << 40) == [512, 32 << 20])
    #expect(sizes(0, 0, -1) == [1, 4096])
    #expect(sizes(1 << 20, 512, 512) == [65536, 65536])
  }

  // MARK: Seeded mutation

  @Test(arguments: 0..<4) func nothingInAnOptionOrRequestCanTrap(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let samples: [[UInt8]] = [
      RawClient.query("disk", [0, 1, 2, 3]), RawClient.query(""), Array("disk".utf8), [],
      RawClient.query(String(repeating: "x", count: 4000)), RawClient.option(7, RawClient.query("disk", [3])),
      RawClient.request(1, at: 4096, length: 512), RawClient.request(6, flags: 3),
      RawClient.metaQuery("disk", ["base:allocation", "x:y"]), RawClient.extendedRequest(7, at: 4096, length: 512, flags: 32),
    ]
    var understood = 0
    for _ in 0..<5000 {
      let bytes = mutate(samples[Int.random(in: 0..<samples.count, using: &random)], &random)
      for number in UInt32(0)...12 { if case .success = parse(number, bytes) { understood += 1 } }
      bytes.withUnsafeBytes { raw in
        if OptionHeader.decode(raw) != nil { understood += 1 }
        if raw.count >= RequestHeader.byteCount, let header = RequestHeader.decode(raw.baseAddress!) {
          let size = UInt64.random(in: 0 ... .max, using: &random)
          let verdict = RequestRules(isReadOnly: Bool.random(using: &random)).judge(header, exportByteCount: size)
          if case .perform(let command) = verdict, command != .flush {
            #expect(header.offset <= size && header.length <= size - header.offset)
            understood += 1
          }
        }
        if raw.count >= RequestHeader.extendedByteCount, let header = RequestHeader.decodeExtended(raw.baseAddress!) {
          let size = UInt64.random(in: 0 ... .max, using: &random)
          let rules = RequestRules(isReadOnly: false, style: .extended, metaContexts: [.init(.allocation)], minimumBlockByteCount: 512)
          _ = rules.hasStatusPayload(header)
          if case .perform(let command) = rules.judge(header, exportByteCount: size), command != .flush {
            #expect(header.offset <= size && header.length <= size - header.offset)
          }
        }
        _ = StatusPayload.decode(raw, of: [.init(.allocation), .init(.slab)])
      }
    }
    #expect(understood > 1000)  // else the mutations never get past the first check
  }

  /// Cut at the protocol's length, never within a scalar, and at once however long the text is.
  @Test func longTextsAreCut() {
    let limit = WireLimits.stringByteCount
    #expect(OptionReplies.text("ä") == Array("ä".utf8))
    #expect(OptionReplies.text(String(repeating: "a", count: limit)).count == limit)
    for (start, expected) in [("", limit), ("a", limit - 3), ("aa", limit - 2), ("aaa", limit - 1), ("aaaa", limit)] {
      let bytes = OptionReplies.text(start + String(repeating: "🚀", count: 1 << 20))
      #expect(bytes.count == expected && String(validating: bytes, as: UTF8.self) != nil, "\(bytes.count)")
    }
  }

  private func mutate(_ sample: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = sample
    for _ in 0..<Int.random(in: 0...4, using: &random) {
      let place = Int.random(in: 0...bytes.count, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0 where place < bytes.count: bytes[place] = UInt8.random(in: 0 ... .max, using: &random)
      case 1 where place < bytes.count: bytes[place] = [0, 1, 0x7f, 0x80, 0xff][Int.random(in: 0..<5, using: &random)]
      case 2: bytes.removeSubrange(place...)
      case 3: bytes.insert(contentsOf: [0xff, 0, 0xff], at: place)
      default: if place < bytes.count { bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random) }
      }
    }
    return bytes
  }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
