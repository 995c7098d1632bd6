/// CRC-32 as GPT uses it: IEEE 802.3, reflected polynomial 0xEDB88320, the one of zlib. Not the CRC-32C of the pool's metadata.
public enum CRC32 {
  private static let table: [UInt32] = (0..<256).map { index in
    var value = UInt32(index)
    for _ in 0..<8 {
      value = value & 1 == 1 ? (value >> 1) ^ 0xEDB8_8320 : value >> 1
    }
    return value
  }

  /// The checksum of `bytes`.
  public static func checksum(_ bytes: [UInt8]) -> UInt32 {
    checksum(bytes[...])
  }

  /// The checksum of `bytes`; of no bytes it is 0.
  public static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    // Raw pointers, because the entry array is 16 KiB and checked subscripts dominate the cost of a debug build.
    table.withUnsafeBufferPointer { tableBuffer in
      bytes.withUnsafeBufferPointer { buffer in
        guard let entries = tableBuffer.baseAddress, var next = buffer.baseAddress else { return 0 }
        let end = next + buffer.count
        var crc: UInt32 = 0xFFFF_FFFF
        while next != end {
          crc = (crc >> 8) ^ entries[Int((crc ^ UInt32(next.pointee)) & 0xFF)]
          next += 1
        }
        return ~crc
      }
    }
  }
}
