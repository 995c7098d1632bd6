/// How the bytes of a slab row lie on its columns: interleave after interleave, round robin. Pure arithmetic, all in bytes.
///
///     row offset  0      i      2i     3i     4i          (i = interleave, 3 columns)
///     column      0      1      2      0      1
///     in slab     0      0      0      i      i
public struct StripeLayout: Equatable, Sendable {
  public let columns: Int
  public let interleave: UInt64
  public let slabByteCount: UInt64

  /// `interleave` is a power of two that divides `slabByteCount`; callers check what users give.
  public init(columns: Int, interleave: UInt64, slabByteCount: UInt64) {
    assert(columns > 0 && interleave > 0 && slabByteCount % interleave == 0)
    self.columns = columns
    self.interleave = interleave
    self.slabByteCount = slabByteCount
  }

  public var rowByteCount: UInt64 { slabByteCount * UInt64(columns) }

  /// Where the byte at `offset` of a row lies, and how many bytes from there on lie behind each other on the same column.
  @inline(__always)
  public func locate(_ offset: UInt64) -> (column: Int, offsetInSlab: UInt64, contiguousByteCount: UInt64) {
    if columns == 1 { return (0, offset, slabByteCount - offset) }
    let unit = offset / interleave
    let within = offset - unit * interleave
    let (stripe, column) = unit.quotientAndRemainder(dividingBy: UInt64(columns))
    return (Int(column), stripe * interleave + within, interleave - within)
  }

  /// How many bytes of `column` lie before `offset` of the row. A contiguous range of the row is therefore one contiguous range of each
  /// column: from `byteCount(of: c, before: start)` to `byteCount(of: c, before: end)`.
  public func byteCount(of column: Int, before offset: UInt64) -> UInt64 {
    let (stripes, rest) = offset.quotientAndRemainder(dividingBy: interleave * UInt64(columns))
    let columnStart = UInt64(column) * interleave
    let inLastStripe = rest <= columnStart ? 0 : min(rest - columnStart, interleave)
    return stripes * interleave + inLastStripe
  }
}
