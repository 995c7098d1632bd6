import Testing

@testable import Pool

@Suite struct SlabAllocatorTests {
  private func allocator(_ counts: [Int]) -> SlabAllocator {
    var allocator = SlabAllocator()
    for (index, count) in counts.enumerated() { allocator.addDisk(DiskNumber(UInt32(index + 1)), slabCount: count) }
    return allocator
  }

  @Test func aRowsSlabsLieOnDifferentDisksAndNoneIsDealtTwice() {
    var allocator = allocator([70, 65, 64])
    var dealt = Set<[UInt32]>()
    while let row = allocator.allocate(columns: 2)?.compactMap({ $0 }) {
      #expect(Set(row.map(\.disk)).count == 2)
      for slab in row { #expect(dealt.insert([slab.disk.value, slab.slab.value]).inserted) }
    }
    // 199 slabs in pairs: one is left over.
    #expect(dealt.count == 198)
    #expect(allocator.freeSlabCount == 1)
  }

  /// What could be dealt at best, by trying: `rowsAvailable` says so, and dealing reaches it.
  @Test(arguments: [([10, 10, 15], 2), ([10, 10, 15], 3), ([10, 10, 10, 15], 3), ([1, 1, 100], 2), ([5], 1), ([3, 3], 3)])
  func nothingIsStrandedThatABetterDealWouldUse(counts: [Int], columns: Int) {
    var allocator = allocator(counts)
    let promised = allocator.rowsAvailable(columns: columns)
    var rows = 0
    while allocator.allocate(columns: columns) != nil { rows += 1 }
    #expect(rows == promised)
    let best = (0...counts.reduce(0, +)).last { wanted in counts.reduce(0) { $0 + min($1, wanted) } >= wanted * columns } ?? 0
    #expect(rows == best)
  }

  @Test func releasedSlabsAreDealtAgain() {
    var allocator = allocator([2, 2])
    let first = allocator.allocate(columns: 2)?.compactMap { $0 }
    _ = allocator.allocate(columns: 2)
    #expect(allocator.allocate(columns: 2) == nil)
    for slab in first ?? [] { allocator.release(slab.slab, on: slab.disk) }
    let again = allocator.allocate(columns: 2)?.compactMap { $0 }
    #expect(again?.map(\.slab.value) == first?.map(\.slab.value))
  }

  @Test func slabsThatTheMetadataNamesAreTakenOnceAndOnlyWhereTheyAre() {
    var allocator = allocator([65])
    let asked: [(SlabNumber, DiskNumber)] = [
      (SlabNumber(64), DiskNumber(1)), (SlabNumber(64), DiskNumber(1)), (SlabNumber(65), DiskNumber(1)), (SlabNumber(0), DiskNumber(2)),
    ]
    var answers: [Bool] = []
    for (slab, disk) in asked { answers.append(allocator.take(slab, on: disk)) }
    #expect(answers == [true, false, false, false])
    #expect(allocator.freeSlabCount == 64)
  }
}
