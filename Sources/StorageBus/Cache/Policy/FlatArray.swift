import BlockDevice
import CLinux

/// A fixed number of plain values in memory of their own: allocated once, freed with their owner, and never counted or copied, so that
/// what is built of it allocates nothing per request. All bits are zero at first, so that a large array takes no memory, and no time, before it is
/// used: whatever is built of it begins with zeros.
struct FlatArray<Element: BitwiseCopyable>: ~Copyable {
  private let base: UnsafeMutablePointer<Element>
  let count: Int

  /// Throws `.noMemory`. (Who is built of several makes them all before the first is stored: Swift 6.3 takes no half-made structure apart.)
  init(count: Int) throws(BlockError) {
    guard let memory = calloc(max(1, count), MemoryLayout<Element>.stride) else { throw BlockError(.noMemory) }
    base = memory.bindMemory(to: Element.self, capacity: max(1, count))
    self.count = count
  }

  deinit { free(base) }

  /// An index out of range is a fault of the cache's own, never of a request; debug builds trap on it.
  subscript(index: Int) -> Element {
    @inline(__always) get {
      assert(index >= 0 && index < count)
      return base[index]
    }
    @inline(__always) set {
      assert(index >= 0 && index < count)
      base[index] = newValue
    }
  }
}
