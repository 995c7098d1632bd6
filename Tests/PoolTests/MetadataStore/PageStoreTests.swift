import Testing

@testable import Pool

@Suite struct PageStoreTests {
  private static func change(_ pages: PageStore, _ changes: [MetadataChange]) throws {
    var plan = ChangePlan(pages)
    try plan.add(changes, reservedPageCount: 0)
    plan.apply()
  }

  private static func model(_ pages: PageStore) -> Model {
    var model: Model = [:]
    pages.forEach { model[$0.key] = Array($0.value) }
    return model
  }

  @Test func aCheckpointSeesThePagesAsTheyWereWhenItBegan() throws {
    let pages = PageStore(pageCount: 4, secret: 1)
    try Self.change(pages, (0..<40).map { put($0, [UInt8](repeating: 1, count: 1000)) })
    let frozen = pages.freeze()
    #expect(frozen.sorted == [0, 1, 2])
    try Self.change(pages, [put(0, [UInt8](repeating: 2, count: 1000)), .delete(RecordKey(testKind, 1)), put(39, [3]), put(99, [4])])
    let block = MemoryBlock(byteCount: FormatLimits.pageByteCount)
    var seen: Model = [:]
    for page in frozen.sorted {
      let fill = try #require(pages.copyFrozen(page, to: block.bytes))
      let start = try #require(block.bytes.baseAddress)
      var count = 0
      PageStore.forEachRecord(start, used: fill.usedByteCount) {
        seen[$0.key] = Array($0.value)
        count += 1
      }
      #expect(count == fill.recordCount)
    }
    #expect(seen.count == 40)
    #expect(seen.values.allSatisfy { $0 == [UInt8](repeating: 1, count: 1000) })
    pages.thaw()
    // What changed meanwhile is for the next one.
    #expect(!pages.freeze().isEmpty)
    let now = Self.model(pages)
    #expect(now.count == 40)
    #expect(now[RecordKey(testKind, 99)] == [4])
  }

  /// Random changes against a model, with pages so full that they are compacted all the time; refused changes leave no trace.
  @Test func changesMatchAModel() throws {
    let pages = PageStore(pageCount: 5, secret: 2)
    var model: Model = [:]
    var random = SeededRandom(5)
    var refused = 0
    for _ in 0..<3000 {
      let commit = randomCommit(model, keys: 120, largest: 1500, &random)
      do {
        try Self.change(pages, commit)
        apply(commit, to: &model)
      } catch {
        #expect((error as? MetadataError)?.cause == .metadataFull)
        refused += 1
      }
    }
    #expect(Self.model(pages) == model)
    #expect(pages.recordCount == model.count)
    for (key, value) in model { #expect(pages.valueByteCount(of: key) == value.count) }
    #expect(refused > 10)
    for key in model.keys { try Self.change(pages, [.delete(key)]) }
    #expect(pages.recordCount == 0)
    #expect(pages.emptyPageCount == 5)
  }
}
