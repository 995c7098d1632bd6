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

  /// Disks of 10, 10 and 15 with three copies leave 5 that no third disk has; with a fourth of 10 nothing is left.
  @Test(arguments: [([10, 10, 15], 3, 10, 5), ([10, 10, 10, 15], 3, 15, 0), ([10, 10, 15], 2, 17, 1), ([4, 6, 20], 2, 10, 10)])
  func whatIsStrandedIsWhatNoDealCouldUse(counts: [Int], copies: Int, rows: Int, stranded: Int) {
    var allocator = allocator(counts)
    var dealt = 0
    while allocator.allocate(columns: 1, copies: copies) != nil { dealt += 1 }
    #expect(dealt == rows)
    #expect(allocator.freeSlabCount == stranded)
  }

  /// Whatever the disks' sizes, and whatever was freed in between: dealing reaches the bound, and no deal could do better.
  @Test(arguments: UInt64(1)...200) func dealingReachesTheBound(seed: UInt64) {
    var random = SeededRandom(seed)
    let counts = (0..<Int.random(in: 1...9, using: &random)).map { _ in Int.random(in: 1...60, using: &random) }
    let columns = Int.random(in: 1...3, using: &random)
    let copies = Int.random(in: 1...3, using: &random)
    guard columns * copies <= counts.count else { return }
    var allocator = allocator(counts)
    // Some of it in use already, in rows of another width.
    var held: [[SlabAllocator.Dealt]] = []
    for _ in 0..<Int.random(in: 0...30, using: &random) {
      if let row = allocator.allocate(columns: Int.random(in: 1...counts.count, using: &random)) { held.append(row.compactMap { $0 }) }
    }
    for _ in 0..<held.count / 2 {
      for slab in held.remove(at: Int.random(in: 0..<held.count, using: &random)) { allocator.release(slab.slab, on: slab.disk) }
    }
    let free = counts.indices.map { allocator.freeSlabCount(of: DiskNumber(UInt32($0 + 1))) }
    let promised = allocator.rowsAvailable(columns: columns * copies)
    let slabsPerRow = columns * copies
    let best = (0...540).last { (rows: Int) -> Bool in
      let given = free.map { min($0, rows) }.reduce(0, +)
      return given >= rows * slabsPerRow
    }
    #expect(promised == best)
    var rows = 0
    while let row = allocator.allocate(columns: columns, copies: copies) {
      rows += 1
      #expect(row.allSatisfy { $0 != nil })
    }
    #expect(rows == promised, "\(free) with \(columns) columns and \(copies) copies")
    // More columns never hold more.
    let narrow = self.allocator(free).rowsAvailable(columns: copies)
    #expect(columns * promised <= narrow)
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
