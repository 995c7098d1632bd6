/// Numbers in a superblock. Offsets are ours and lie inside of it.
struct SuperblockBytes {
  private let bytes: [UInt8]

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  func little(_ offset: Int, _ count: Int) -> UInt64 { bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
  func big(_ offset: Int, _ count: Int) -> UInt64 { bytes[offset..<(offset + count)].reduce(0) { $0 << 8 | UInt64($1) } }
}
