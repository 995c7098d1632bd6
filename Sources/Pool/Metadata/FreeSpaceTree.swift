/// Free bytes of each page, as a tree of maxima: finds the first page with enough room in a few steps. First fit is a function of the
/// pages' fill alone, so that a replay puts every record where it was put the first time, and cannot run out of room where that did not.
struct FreeSpaceTree {
  private var maxima: [Int32]
  private let leafCount: Int
  let count: Int

  init(count: Int, each free: Int) {
    self.count = count
    var leaves = 1
    while leaves < count { leaves <<= 1 }
    leafCount = leaves
    maxima = [Int32](repeating: 0, count: 2 * leaves)
    for page in 0..<count { maxima[leaves + page] = Int32(free) }
    for node in stride(from: leaves - 1, to: 0, by: -1) { maxima[node] = max(maxima[2 * node], maxima[2 * node + 1]) }
  }

  subscript(page: Int) -> Int { Int(maxima[leafCount + page]) }

  mutating func add(_ delta: Int, to page: Int) {
    var node = leafCount + page
    maxima[node] += Int32(delta)
    while node > 1 {
      node >>= 1
      let larger = max(maxima[2 * node], maxima[2 * node + 1])
      if maxima[node] == larger { return }
      maxima[node] = larger
    }
  }

  /// The first page with at least `byteCount` free bytes.
  func first(atLeast byteCount: Int) -> Int? {
    guard Int(maxima[1]) >= byteCount else { return nil }
    var node = 1
    while node < leafCount { node = Int(maxima[2 * node]) >= byteCount ? 2 * node : 2 * node + 1 }
    return node - leafCount
  }
}
