import Reactor

/// Requests that have no payload and may yet look through thousands of rows: a client can ask for a thousand of them in a few kilobytes, and each
/// takes a part of every turn of the reactor. Few of a kind are at work at a time on one virtual disk; the others wait in the order of their coming.
/// A kind does not wait for another, which may have much to write.
final class LongRanges: @unchecked Sendable {  // reactor-confined
  private let changes = Places(WireLimits.longChanges)
  private let looks = Places(WireLimits.longLooks)
  private let fills = Places(WireLimits.longLooks)

  /// nil for a request that is not long.
  func places(for command: Command, byteCount: UInt64) -> Places? {
    if byteCount <= WireLimits.longRangeByteCount { return nil }
    return switch command {
    case .trim, .writeZeroes: changes
    case .blockStatus: looks
    case .cache: fills
    case .read, .write, .flush, .disconnect: nil
    }
  }
}
