/// A share of all pages, chosen by hash: what a small directory sees of it behaves as a large one does with all pages
/// (Waldspurger and others, "SHARDS", FAST 2015, and "Cache modeling and optimization using miniature simulations", ATC 2017).
struct PageSample {
  /// Of 2^32.
  private let threshold: UInt64
  private let hash: PageHash

  init(share: Int, of whole: Int, hash: PageHash) {
    self.hash = hash
    threshold = share >= whole ? 1 << 32 : UInt64(share) << 32 / UInt64(whole)
  }

  @inline(__always) func contains(_ page: UInt64) -> Bool { hash(page) & 0xFFFF_FFFF < threshold }
}
