/// The 64 attribute bits of a partition (UEFI 2.10, table 5.8; bits 48 to 63 belong to the partition type).
public struct GPTAttributes: OptionSet, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The platform needs the partition to work; tools must not delete it.
  public static let requiredPartition = GPTAttributes(rawValue: 1 << 0)
  /// EFI firmware gives the partition no block I/O protocol.
  public static let noBlockIOProtocol = GPTAttributes(rawValue: 1 << 1)
  /// A legacy BIOS may boot from it.
  public static let legacyBIOSBootable = GPTAttributes(rawValue: 1 << 2)
  /// Discoverable partitions: grow the file system on mount.
  public static let growFileSystem = GPTAttributes(rawValue: 1 << 59)
  /// Discoverable partitions and Windows: mount read-only.
  public static let readOnly = GPTAttributes(rawValue: 1 << 60)
  /// Windows: a shadow copy of another partition.
  public static let shadowCopy = GPTAttributes(rawValue: 1 << 61)
  /// Windows: hidden from the volume manager.
  public static let hidden = GPTAttributes(rawValue: 1 << 62)
  /// Discoverable partitions and Windows: do not mount by itself.
  public static let noAutomaticMount = GPTAttributes(rawValue: 1 << 63)
}

extension GPTAttributes {
  /// The bits that have a name on the command line.
  private static let names: [(name: String, bit: Int)] = [
    ("required", 0), ("no-block-io", 1), ("legacy-boot", 2), ("grow-file-system", 59), ("read-only", 60), ("shadow-copy", 61),
    ("hidden", 62), ("no-auto", 63),
  ]

  /// The names that `init(parsing:)` knows.
  public static var knownNames: [String] { names.map(\.name) }

  /// One attribute: by its name, in either case, or by the number of its bit, 0 to 63; nil for anything else.
  public init?(parsing text: String) {
    let lower = text.lowercased()
    guard let bit = GPTAttributes.names.first(where: { $0.name == lower })?.bit ?? Int(text), (0...63).contains(bit) else { return nil }
    self.init(rawValue: 1 << UInt64(bit))
  }

  /// Each bit that is set: by its name, else by its number.
  public var words: [String] {
    (0...63).filter { rawValue >> UInt64($0) & 1 == 1 }.map { bit in GPTAttributes.names.first { $0.bit == bit }?.name ?? "\(bit)" }
  }
}
