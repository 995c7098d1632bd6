/// Which page lies in which frame, and which is to go first.
struct PageDirectory {
  private var frames: [PageKey: Int32] = [:]
  private var order: [PageKey] = []
  init(capacity: Int) {}
  var count: Int { frames.count }
  var keys: [PageKey] { Array(frames.keys) }
  func frame(of key: PageKey) -> Int32? { frames[key] }
  mutating func use(_ key: PageKey) -> Int32? { frames[key] }
  mutating func insert(_ key: PageKey, _ frame: Int32) {
    frames[key] = frame
    order.append(key)
  }
  mutating func remove(_ key: PageKey) -> Int32? {
    guard let frame = frames.removeValue(forKey: key) else { return nil }
    order.removeAll { $0 == key }
    return frame
  }
  mutating func evict(where isIdle: (Int32) -> Bool) -> Int32? {
    for key in order { if let frame = frames[key], isIdle(frame) { return remove(key) } }
    return nil
  }
}
