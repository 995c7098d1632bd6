/// What is wrong with bytes that were read. A value: decoding a damaged disk throws many.
public enum FormatError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Nothing but zeros: never written.
  case empty
  case truncated
  case wrongMagic
  case unsupportedVersion(UInt16)
  case wrongChecksum
  /// Of another pool, another disk, or another place on this disk: a misdirected or leftover write.
  case wrongPool
  case wrongDisk
  case misplaced
  /// A field holds what cannot be.
  case invalid(String)

  public var description: String {
    switch self {
    case .empty: "empty"
    case .truncated: "cut short"
    case .wrongMagic: "no structure of a pool"
    case .unsupportedVersion(let version): "format version \(version) is not known to this program"
    case .wrongChecksum: "wrong checksum"
    case .wrongPool: "belongs to another pool"
    case .wrongDisk: "belongs to another disk"
    case .misplaced: "belongs to another place on the disk"
    case .invalid(let what): "impossible \(what)"
    }
  }
}
