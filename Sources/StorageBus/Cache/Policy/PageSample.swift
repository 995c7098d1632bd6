/// A share of all pages, chosen by hash: what a small directory sees of it behaves as a large one does with all pages
/// (Waldspurger and others, "SHARDS", FAST 2015, and "Cache modeling and optimization using miniature simulations", ATC 2017).
struct PageSample {
  /// Of 2^32.
  private let threshold: UInt64

  init(share: Int, of whole: Int) {
    threshold = share >= whole ? 1 << 32 : UInt64(share) << 32 / UInt64(whole)
  }

  @inline(__always) func contains(_ page: UInt64) -> Bool { PageIndex.hash(page) & 0xFFFF_FFFF < threshold }
}
