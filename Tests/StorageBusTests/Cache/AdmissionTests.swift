import Testing

@testable import StorageBus

/// The Windows admission rule by its letter.
@Suite struct AdmissionTests {
  private static let minute: UInt64 = 60_000_000

  @Test func readsOf64KiBComeInAtTheFirstMiss() throws {
    var filter = try AdmissionFilter(rule: .windows, hash: PageHash(seed: 1))
    #expect(decision(&filter, page: 1, offset: 0, byteCount: 65_536) == .admitted)
    #expect(decision(&filter, page: 100, offset: 1 << 30, byteCount: 65_537) == .bypassedLarge)
  }

  @Test func largerReadsComeInAtTheSecondMissWithinTenMinutes() throws {
    var filter = try AdmissionFilter(rule: .windows, hash: PageHash(seed: 1))
    #expect(decision(&filter, page: 1, offset: 0, byteCount: 1 << 20, at: 0) == .bypassedLarge)
    #expect(decision(&filter, page: 1, offset: 0, byteCount: 1 << 20, at: 10 * Self.minute) == .secondMiss)
    #expect(decision(&filter, page: 2, offset: 1 << 30, byteCount: 1 << 20, at: 10 * Self.minute) == .bypassedLarge)
    #expect(decision(&filter, page: 2, offset: 1 << 30, byteCount: 1 << 20, at: 20 * Self.minute + 1) == .bypassedLarge)
    #expect(decision(&filter, page: 2, offset: 1 << 30, byteCount: 1 << 20, at: 21 * Self.minute) == .secondMiss)
  }

  @Test func runsOver32KiBPassTheCacheBy() throws {
    var filter = try AdmissionFilter(rule: .windows, hash: PageHash(seed: 1))
    for read in 0..<20 as Range<UInt64> {
      let expected = (read + 1) * 4096 > 32_768 ? AdmissionDecision.bypassedSequential : .admitted
      #expect(decision(&filter, page: read, offset: read * 4096, byteCount: 4096) == expected, "read \(read)")
    }
    #expect(decision(&filter, page: 900, offset: 900 * 4096, byteCount: 4096) == .admitted, "another place is no run")
  }

  @Test func runsSideBySideAreToldApart() throws {
    var filter = try AdmissionFilter(rule: .windows, hash: PageHash(seed: 1))
    for read in 0..<20 as Range<UInt64> {
      for stream in 0..<8 as Range<UInt32> {
        let found = decision(&filter, page: read, stream: stream, offset: read * 8192, byteCount: 8192)
        #expect(found == (read >= 4 ? .bypassedSequential : .admitted))
      }
    }
  }

  @Test func theMemoryOfMissesIsBounded() throws {
    var misses = try RecentMisses(capacity: 3, hash: PageHash(seed: 1))
    let first = (1...4).map { misses.isSecond($0, at: 0) }
    #expect(first == [false, false, false, false])
    let isForgotten = misses.isSecond(1, at: 1)
    #expect(!isForgotten)
    let isKept = misses.isSecond(4, at: 1)
    #expect(isKept)
  }

  @Test func allAdmitsAll() throws {
    var filter = try AdmissionFilter(rule: .all, hash: PageHash(seed: 1))
    for read in 0..<20 as Range<UInt64> {
      #expect(decision(&filter, page: read, offset: read << 20, byteCount: 1 << 20) == .admitted)
    }
  }

  private func decision(
    _ filter: inout AdmissionFilter, page: UInt64, stream: UInt32 = 0, offset: UInt64, byteCount: UInt64, at time: UInt64 = 0
  ) -> AdmissionDecision {
    let isSequential = filter.noteRead(stream: stream, offset: offset, byteCount: byteCount)
    return filter.decide(page: page, byteCount: byteCount, isSequential: isSequential, at: time)
  }
}
