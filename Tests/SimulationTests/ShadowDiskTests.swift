import Simulation
import Testing

@Suite struct ShadowDiskTests {
  private let shadow = ShadowDisk(sectorCount: 64)

  /// Checks sectors of the given contents, the first being sector 0.
  private func check(_ fills: [Fill], since: ShadowDisk.Moment? = nil) throws {
    var bytes = [UInt8](repeating: 0, count: fills.count * 512)
    bytes.withUnsafeMutableBytes { all in
      for (index, fill) in fills.enumerated() { fill.write(to: all.part(index * 512, 512), firstSector: UInt64(index)) }
    }
    try bytes.withUnsafeBytes { try shadow.check($0, firstSector: 0, since: since) }
  }

  private func refuses(_ fills: [Fill], _ words: String = "") {
    let error = #expect(throws: ShadowError.self) { try check(fills) }
    #expect(words.isEmpty || error?.description.contains(words) == true, "\(error?.description ?? "")")
  }

  @Test func aReaderSeesTheLastAnsweredWrite() throws {
    try check([.zeros, .zeros])
    shadow.written(0..<2, Fill(1))
    try check([Fill(1), Fill(1)])
    refuses([Fill(1), .zeros], "sector 1")
    shadow.written(0..<1, Fill(2))
    try check([Fill(2), Fill(1)])
    refuses([Fill(1)], "holds fill 1")
    shadow.trimmed(0..<2)
    try check([.zeros, .zeros])
  }

  @Test func plantedDamageIsFound() throws {
    shadow.written(0..<4, Fill(1))
    shadow.flushed()
    var bytes = [UInt8](repeating: 0, count: 4 * 512)
    bytes.withUnsafeMutableBytes { Fill(1).write(to: $0, firstSector: 0) }
    try bytes.withUnsafeBytes { try shadow.check($0, firstSector: 0) }
    bytes[3 * 512 + 300] ^= 1
    let error = #expect(throws: ShadowError.self) { try bytes.withUnsafeBytes { try shadow.check($0, firstSector: 0) } }
    #expect(error?.sector == 3)
    // The right bytes at another place are wrong.
    bytes.withUnsafeMutableBytes { Fill(1).write(to: $0, firstSector: 1) }
    #expect(throws: ShadowError.self) { try bytes.withUnsafeBytes { try shadow.check($0, firstSector: 0) } }
  }

  @Test func aCrashMayBringBackWhatWasNotFlushedOver() throws {
    shadow.written(0..<1, Fill(1))
    shadow.flushed()
    shadow.written(0..<1, Fill(2))
    shadow.written(0..<1, Fill(3))
    #expect(shadow.possibleFills(ofSector: 0) == [Fill(1), Fill(2), Fill(3)])
    shadow.crashed()
    refuses([.zeros], "zeros")
    try check([Fill(2)])
    refuses([Fill(3)])  // a read never changes its mind,
    shadow.crashed()
    refuses([Fill(1)])  // not even by another crash
    try check([Fill(2)])
  }

  @Test func aFlushCoversOnlyWhatWasAnsweredBefore() throws {
    let early = shadow.writeBegan(0..<1, Fill(1))
    let flush = shadow.flushBegan()
    shadow.writeAnswered(early)
    shadow.flushAnswered(flush)
    #expect(shadow.possibleFills(ofSector: 0) == [.zeros, Fill(1)])
    shadow.flushed()
    #expect(shadow.possibleFills(ofSector: 0) == [Fill(1)])
  }

  @Test func aDurableWriteNeedsNoFlush() throws {
    shadow.written(0..<2, Fill(1))
    shadow.written(0..<1, Fill(2), isDurable: true)
    shadow.crashed()
    refuses([Fill(1)])
    try check([Fill(2), .zeros])
  }

  @Test func writesInFlightAndFailedOnesArePossibleButNeverCertain() throws {
    let first = shadow.writeBegan(0..<2, Fill(1))
    let moment = shadow.readBegan()
    try check([Fill(1), .zeros], since: moment)
    try check([.zeros, Fill(1)], since: moment)
    shadow.writeFailed(first)
    try check([Fill(1), .zeros])
    refuses([.zeros])  // once seen
    let second = shadow.writeBegan(0..<1, Fill(2))
    shadow.crashed()
    shadow.writeAnswered(second)  // came too late to mean anything
    #expect(shadow.possibleFills(ofSector: 0) == [.zeros, Fill(1), Fill(2)])
  }

  @Test func ofTwoOverlappingWritesEitherMayBeLastUntilItIsRead() throws {
    let one = shadow.writeBegan(0..<1, Fill(1))
    let two = shadow.writeBegan(0..<1, Fill(2))
    shadow.writeAnswered(two)
    shadow.writeAnswered(one)
    refuses([.zeros])
    try check([Fill(2)])
    refuses([Fill(1)])
    shadow.flushed()
    shadow.crashed()
    refuses([Fill(1)])
    try check([Fill(2)])
  }
}
