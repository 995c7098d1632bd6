import Testing

@testable import StorageBus

/// Each policy against a naive model of it, read after read.
@Suite struct EvictionTests {
  private static let reads = 60_000

  @Test(arguments: [1, 2, 7, 50, 300]) func lruIsLRU(capacity: Int) throws {
    var model = LRUModel(capacity: capacity)
    compare(try PageDirectory<LRUOrder>(capacity: capacity, hash: PageHash(seed: 1))) { model.read($0) }
  }

  @Test(arguments: [1, 2, 7, 50, 300]) func arcIsARC(capacity: Int) throws {
    var model = ARCModel(capacity: capacity)
    compare(try PageDirectory<ARCOrder>(capacity: capacity, hash: PageHash(seed: 1))) { model.read($0) }
  }

  @Test(arguments: [2, 7, 50, 300]) func s3fifoIsS3FIFO(capacity: Int) throws {
    var model = S3FIFOModel(capacity: capacity)
    compare(try PageDirectory<S3FIFOOrder>(capacity: capacity, hash: PageHash(seed: 1))) { model.read($0) }
  }

  private func compare<Order: EvictionOrder & ~Copyable>(_ directory: consuming PageDirectory<Order>, _ model: (UInt64) -> Bool) {
    var directory = directory
    var random = TestRandom(seed: 9)
    let popular = Zipf(pages: 1000, exponent: 0.8)
    for read in 0..<EvictionTests.reads {
      // Popular pages, and now and then a loop over others.
      let page = read / 500 % 3 == 0 ? UInt64(2000 + read % 400) : popular.page(&random)
      let isHit = directory.readThrough(page)
      guard isHit == model(page) else {
        Issue.record("read \(read) of page \(page): the directory says \(isHit)")
        return
      }
    }
  }
}

private struct LRUModel {
  let capacity: Int
  /// The oldest first.
  var pages: [UInt64] = []

  init(capacity: Int) { self.capacity = capacity }

  mutating func read(_ page: UInt64) -> Bool {
    let place = pages.firstIndex(of: page)
    if let place { pages.remove(at: place) } else if pages.count == capacity { pages.removeFirst() }
    pages.append(page)
    return place != nil
  }
}

/// The cases of the paper's figure 4, in their order. The oldest is first in each list.
private struct ARCModel {
  let c: Int
  var p = 0
  var t1: [UInt64] = []
  var t2: [UInt64] = []
  var b1: [UInt64] = []
  var b2: [UInt64] = []

  init(capacity: Int) { c = capacity }

  mutating func read(_ page: UInt64) -> Bool {
    if let place = t1.firstIndex(of: page) {
      t2.append(t1.remove(at: place))
      return true
    }
    if let place = t2.firstIndex(of: page) {
      t2.append(t2.remove(at: place))
      return true
    }
    if let place = b1.firstIndex(of: page) {
      p = min(c, p + max(1, b2.count / b1.count))
      replace(isInB2: false)
      b1.remove(at: place)
      t2.append(page)
      return false
    }
    if let place = b2.firstIndex(of: page) {
      p = max(0, p - max(1, b1.count / b2.count))
      replace(isInB2: true)
      b2.remove(at: place)
      t2.append(page)
      return false
    }
    if t1.count + b1.count == c {
      if t1.count < c {
        b1.removeFirst()
        replace(isInB2: false)
      } else {
        t1.removeFirst()
      }
    } else if t1.count + t2.count + b1.count + b2.count >= c {
      if t1.count + t2.count + b1.count + b2.count == 2 * c { b2.removeFirst() }
      replace(isInB2: false)
    }
    t1.append(page)
    return false
  }

  private mutating func replace(isInB2: Bool) {
    guard t1.count + t2.count == c else { return }
    if !t1.isEmpty, t1.count > p || (isInB2 && t1.count == p) {
      b1.append(t1.removeFirst())
    } else {
      b2.append(t2.removeFirst())
    }
  }
}

private struct S3FIFOModel {
  let capacity: Int
  let smallTarget: Int
  var small: [UInt64] = []
  var main: [UInt64] = []
  var ghosts: [UInt64] = []
  var reads: [UInt64: Int] = [:]

  init(capacity: Int) {
    self.capacity = capacity
    smallTarget = max(1, capacity / 10)
  }

  mutating func read(_ page: UInt64) -> Bool {
    if let count = reads[page] {
      reads[page] = min(3, count + 1)
      return true
    }
    let ghost = ghosts.firstIndex(of: page)
    if let ghost { ghosts.remove(at: ghost) }
    if small.count + main.count == capacity { evict() }
    reads[page] = 0
    if ghost == nil { small.append(page) } else { main.append(page) }
    return false
  }

  private mutating func evict() {
    while true {
      if !small.isEmpty, small.count >= smallTarget || main.isEmpty {
        let page = small.removeFirst()
        guard reads[page]! < 2 else {
          reads[page] = 0
          main.append(page)
          continue
        }
        reads[page] = nil
        if ghosts.count == max(1, capacity - smallTarget) { ghosts.removeFirst() }
        ghosts.append(page)
        return
      }
      let page = main.removeFirst()
      guard reads[page]! > 0 else {
        reads[page] = nil
        return
      }
      reads[page]! -= 1
      main.append(page)
    }
  }
}
