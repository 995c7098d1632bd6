import Testing

@testable import StorageBus

@Suite struct BlockTraceTests {
  private static let header = "time,op,offset_bytes,byte_count\n"

  @Test(arguments: [1, 2, 3, 7, 1000]) func aTraceInPiecesIsTheSame(piece: Int) throws {
    let requests = try parse(Self.header + "0,r,4096,512\r\n5,w,0,65536\n5,r,9,1", piece: piece)
    #expect(
      requests == [
        BlockTraceRequest(microseconds: 0, isWrite: false, offset: 4096, byteCount: 512),
        BlockTraceRequest(microseconds: 5, isWrite: true, offset: 0, byteCount: 65_536),
        BlockTraceRequest(microseconds: 5, isWrite: false, offset: 9, byteCount: 1),
      ])
  }

  @Test func columnsMayStandInAnyOrder() throws {
    let requests = try parse("byte_count,host,op,time,offset_bytes\n512,a,r,3,1024\n")
    #expect(requests == [BlockTraceRequest(microseconds: 3, isWrite: false, offset: 1024, byteCount: 512)])
  }

  @Test(arguments: [
    ("", 1, "empty"),
    ("0,r,0,512\n", 1, "no column"),
    ("time,op,op,offset_bytes,byte_count\n", 1, "twice"),
    (header + "9,r,0,512\n8,r,0,512\n", 3, "falls from 9 to 8"),
    (header + "-1,r,0,512\n", 2, "'-1' is no whole number"),
    (header + "1.5,r,0,512\n", 2, "'1.5' is no whole number"),
    (header + "0,r,,512\n", 2, "'' is no whole number"),
    (header + "99999999999999999999,r,0,512\n", 2, "too large"),
    (header + "0,r,9223372036854775807,1\n", 2, "beyond 2^63"),
    (header + "0,read,0,512\n", 2, "op 'read' is unknown"),
    (header + "0,r,0,0\n", 2, "byte_count is 0"),
    (header + "0,r,0,2000000000\n", 2, "more than"),
    (header + "0,r,0\n", 2, "3 fields of 4"),
    (header + "0,r,0,512,7\n", 2, "more fields"),
    (header + String(repeating: "1", count: 5000), 2, "longer than"),
  ]) func whatIsWrongIsSaid(text: String, line: Int, words: String) {
    let error = #expect(throws: BlockTraceError.self) { try parse(text) }
    #expect(error?.line == line)
    #expect(error?.problem.contains(words) == true, "\(String(describing: error))")
  }

  @Test func hitsAreCountedInPagesOfReads() throws {
    let simulation = try CacheSimulation(CacheConfiguration(policy: .lru, admission: .all, size: 4 * 16_384, pageSize: 16_384))
    func run(_ isWrite: Bool, _ offset: UInt64, _ byteCount: UInt64) {
      simulation.handle(BlockTraceRequest(microseconds: 0, isWrite: isWrite, offset: offset, byteCount: byteCount))
    }
    run(false, 16_000, 16_384 + 1000)  // pages 0, 1 and 2
    run(true, 5 * 16_384, 16_384)  // comes not in
    run(false, 0, 16_384)  // hit
    run(false, 5 * 16_384, 512)  // miss
    let counts = simulation.counts
    #expect((counts.reads, counts.hits, counts.writes, counts.writeHits) == (5, 1, 1, 0))
    #expect((counts.readBytes, counts.hitBytes) == (17_384 + 16_384 + 512, 16_384))
  }

  private func parse(_ text: String, piece: Int = 1 << 20) throws(BlockTraceError) -> [BlockTraceRequest] {
    var parser = BlockTraceParser()
    var requests: [BlockTraceRequest] = []
    var rest = [UInt8](text.utf8)[...]
    while !rest.isEmpty {
      let bytes = Array(rest.prefix(piece))
      rest = rest.dropFirst(piece)
      let result = bytes.withUnsafeBytes { buffer in
        Result { () throws(BlockTraceError) in try parser.read(buffer) { requests.append($0) } }
      }
      try result.get()
    }
    try parser.finish { requests.append($0) }
    return requests
  }
}
