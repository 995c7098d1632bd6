/// Which chunks of a slab row hold data: a clear bit reads as zeros without the disk being touched.
struct PresenceBitmap {
  private var words: [UInt64]
  let chunkCount: Int
  private(set) var presentCount: Int

  init(chunkCount: Int, allPresent: Bool) {
    self.chunkCount = chunkCount
    words = [UInt64](repeating: 0, count: (chunkCount + 63) / 64)
    presentCount = 0
    if allPresent { set(0..<chunkCount) }
  }

  /// From the bytes of a map record, lowest chunk in the lowest bit. Bits beyond the last chunk are ignored.
  init(chunkCount: Int, bytes: UnsafeRawBufferPointer) {
    self.init(chunkCount: chunkCount, allPresent: false)
    for (index, byte) in bytes.enumerated() where byte != 0 {
      for bit in 0..<8 where byte & (1 << bit) != 0 && index * 8 + bit < chunkCount { set(index * 8 + bit..<index * 8 + bit + 1) }
    }
  }

  var isFull: Bool { presentCount == chunkCount }
  var isEmpty: Bool { presentCount == 0 }

  subscript(chunk: Int) -> Bool { words[chunk >> 6] & (1 << UInt64(chunk & 63)) != 0 }

  func allPresent(in chunks: Range<Int>) -> Bool { isFull || chunks.allSatisfy { self[$0] } }

  /// The end of the run of chunks that are all like `chunk`, not beyond `limit`.
  func endOfRun(from chunk: Int, limit: Int) -> Int {
    if isFull || isEmpty { return limit }
    let state = self[chunk]
    var end = chunk + 1
    while end < limit && self[end] == state { end += 1 }
    return end
  }

  mutating func set(_ chunks: Range<Int>) {
    for chunk in chunks where !self[chunk] {
      words[chunk >> 6] |= 1 << UInt64(chunk & 63)
      presentCount += 1
    }
  }

  mutating func clear(_ chunks: Range<Int>) {
    for chunk in chunks where self[chunk] {
      words[chunk >> 6] &= ~(1 << UInt64(chunk & 63))
      presentCount -= 1
    }
  }

  /// As a map record holds it.
  var bytes: [UInt8] {
    (0..<(chunkCount + 7) / 8).map { UInt8(truncatingIfNeeded: words[$0 >> 3] >> UInt64(($0 & 7) * 8)) }
  }
}
