// Little-endian access to parts of sectors. Offsets are relative to the slice's start. Callers check the slice's length against the
// structure once, before the first access; a wrong offset here is our own mistake, never the disk's.
extension ArraySlice<UInt8> {
  @inline(__always)
  func uint16(at offset: Int) -> UInt16 {
    assert(offset >= 0 && offset + 2 <= count)
    return withUnsafeBytes { UInt16(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt16.self)) }
  }

  @inline(__always)
  func uint32(at offset: Int) -> UInt32 {
    assert(offset >= 0 && offset + 4 <= count)
    return withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
  }

  @inline(__always)
  func uint64(at offset: Int) -> UInt64 {
    assert(offset >= 0 && offset + 8 <= count)
    return withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
  }

  @inline(__always)
  func byte(at offset: Int) -> UInt8 { self[startIndex + offset] }

  /// `count` bytes from `offset` on, without a copy.
  func part(_ offset: Int, _ count: Int) -> ArraySlice<UInt8> {
    self[(startIndex + offset)..<(startIndex + offset + count)]
  }
}

extension [UInt8] {
  mutating func store<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    assert(offset >= 0 && offset + MemoryLayout<T>.size <= count)
    withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self) }
  }

  mutating func store(_ bytes: [UInt8], at offset: Int) {
    replaceSubrange(offset..<(offset + bytes.count), with: bytes)
  }
}
