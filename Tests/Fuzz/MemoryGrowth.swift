@_silgen_name("__sanitizer_get_current_allocated_bytes")
private func currentAllocatedByteCount() -> Int

/// What the runs leave behind, summed up: memory that is allocated before each and after it. libFuzzer's own growth lies between them and does
/// not count.
enum MemoryGrowth {
  /// Caches of the runtime fill in the first runs, and tables grow to what the largest input needs. A leak of 50 bytes a run is over this after
  /// 160,000 runs, a minute or two of the slowest target. Bytes.
  static let limit = 8 << 20

  nonisolated(unsafe) private static var total = 0
  nonisolated(unsafe) private static var isFirst = true
  /// Says how much is allocated, at a moment when nothing of a run is under way any more.
  nonisolated(unsafe) static var allocated = currentAllocatedByteCount

  /// For who has to measure elsewhere, on the thread of a reactor.
  static var measured: Int { currentAllocatedByteCount() }

  static func watch(_ run: () -> Void) {
    let before = allocated()
    run()
    // The first makes what all others share.
    if isFirst { isFirst = false } else { total += allocated() - before }
    precondition(total < limit, "the runs have left \(total) bytes of memory behind")
  }
}

/// The fuzzer's bytes as numbers and stretches, in their order; zeros where they have ended.
struct FuzzBytes {
  private var rest: UnsafeBufferPointer<UInt8>.SubSequence

  init(_ bytes: UnsafeBufferPointer<UInt8>) { rest = bytes[...] }

  var isAtEnd: Bool { rest.isEmpty }
  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
  mutating func short() -> Int { Int(byte()) << 8 | Int(byte()) }

  mutating func take(_ count: Int) -> [UInt8] {
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count))
  }

  mutating func all() -> [UInt8] { take(rest.count) }
}
