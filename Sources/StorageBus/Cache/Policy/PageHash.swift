/// Spreads page numbers over all 64 bits: the upper half places pages in tables, the lower half chooses samples, so that a sample fills a table
/// as evenly as all pages do.
///
/// A client chooses which pages are asked for. With a seed that it does not know it cannot choose such that lie in one place of a table, which
/// would make each look there as long as these are many.
struct PageHash {
  private let mask: UInt64
  private let multiplier: UInt64

  /// - Parameter seed: from the reactor; for simulations of a cache, where each run shall be as the last, any.
  init(seed: UInt64) {
    mask = seed
    multiplier = 0xD6E8_FEB8_6659_FD93 ^ PageHash.spread(seed &* 0x9E37_79B9_7F4A_7C15) & ~1
  }

  @inline(__always) func callAsFunction(_ page: UInt64) -> UInt64 {
    PageHash.spread(((page ^ mask) &+ 0x9E37_79B9_7F4A_7C15).folded &* multiplier)
  }

  @inline(__always) private static func spread(_ value: UInt64) -> UInt64 { (value.folded &* 0xD6E8_FEB8_6659_FD93).folded }
}

extension UInt64 {
  fileprivate var folded: UInt64 {
    @inline(__always) get { self ^ (self >> 32) }
  }
}
