import CLinux

/// CRC32C of `bytes`, continuing `seed`.
func crc32c(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
  guard let start = bytes.baseAddress else { return seed }
  return clinux_crc32c(seed, start, bytes.count)
}

extension UnsafeRawBufferPointer {
  /// The little-endian integer at `offset`. For offsets of our own within a structure whose length was checked before.
  @inline(__always)
  func little<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count, "structures are measured before they are read")
    return Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
  }

  func uuid(at offset: Int) -> UUIDBytes {
    UUIDBytes(high: little(UInt64.self, at: offset).byteSwapped, low: little(UInt64.self, at: offset + 8).byteSwapped)
  }

  var isAllZero: Bool {
    var offset = 0
    while offset + 8 <= count {
      if loadUnaligned(fromByteOffset: offset, as: UInt64.self) != 0 { return false }
      offset += 8
    }
    while offset < count {
      if self[offset] != 0 { return false }
      offset += 1
    }
    return true
  }

  /// The bytes `from ..< from + byteCount`.
  @inline(__always)
  func part(from: Int, byteCount: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: self[from..<from + byteCount])
  }
}

extension UnsafeMutableRawBufferPointer {
  @inline(__always)
  func setLittle<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count, "structures are measured before they are written")
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
  }

  func setUUID(_ bytes: UUIDBytes, at offset: Int) {
    setLittle(bytes.high.byteSwapped, at: offset)
    setLittle(bytes.low.byteSwapped, at: offset + 8)
  }

  func setBytes(_ bytes: some Collection<UInt8>, at offset: Int) {
    UnsafeMutableRawBufferPointer(rebasing: self[offset..<offset + bytes.count]).copyBytes(from: bytes)
  }

  func zero() { if let baseAddress { memset(baseAddress, 0, count) } }

  var readOnly: UnsafeRawBufferPointer { UnsafeRawBufferPointer(self) }
}

/// Reads fields one after the other from bytes that may be anything.
public struct ByteReader {
  let bytes: UnsafeRawBufferPointer
  private(set) var offset = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var remaining: Int { bytes.count - offset }

  @inline(__always)
  mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(FormatError) -> Value {
    guard remaining >= MemoryLayout<Value>.size else { throw .truncated }
    let value = Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Value.self))
    offset += MemoryLayout<Value>.size
    return value
  }

  mutating func identifier<ID: RandomIdentifier>(_ type: ID.Type = ID.self) throws(FormatError) -> ID {
    guard remaining >= 16 else { throw .truncated }
    defer { offset += 16 }
    return ID(bytes: bytes.uuid(at: offset))
  }

  mutating func number<Number: NumberIdentifier>(_ type: Number.Type = Number.self) throws(FormatError) -> Number {
    Number(try integer(Number.Value.self))
  }

  mutating func take(_ byteCount: Int) throws(FormatError) -> UnsafeRawBufferPointer {
    guard byteCount >= 0, remaining >= byteCount else { throw .truncated }
    defer { offset += byteCount }
    return bytes.part(from: offset, byteCount: byteCount)
  }

  mutating func skip(_ byteCount: Int) throws(FormatError) { _ = try take(byteCount) }

  /// UTF-8 of which the length stands before it as UInt16.
  mutating func text(limit: Int, _ field: String) throws(FormatError) -> String {
    let byteCount = Int(try integer(UInt16.self))
    guard byteCount <= limit else { throw .invalid(field) }
    guard let text = String(validating: try take(byteCount), as: UTF8.self) else { throw .invalid(field) }
    return text
  }

  /// What is left, kept as it is: fields of a newer program.
  mutating func rest() -> [UInt8] {
    defer { offset = bytes.count }
    return offset == bytes.count ? [] : Array(bytes[offset...])
  }
}

extension FixedWidthInteger {
  /// As a field of this width stores it.
  var fieldBytes: [UInt8] { withUnsafeBytes(of: littleEndian) { Array($0) } }
}

/// Appends fields one after the other.
public struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  init(reservedCapacity: Int = 128) { bytes.reserveCapacity(reservedCapacity) }

  mutating func integer<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func identifier(_ value: some RandomIdentifier) {
    integer(value.bytes.high.byteSwapped)
    integer(value.bytes.low.byteSwapped)
  }

  mutating func number(_ value: some NumberIdentifier) { integer(value.value) }

  mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

  mutating func zeros(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }

  /// Longer text is cut at a character: hints may be, names are checked before.
  mutating func text(_ text: String, limit: Int) {
    var text = text
    while text.utf8.count > limit { text.removeLast() }
    integer(UInt16(text.utf8.count))
    append(text.utf8)
  }
}

extension String {
  /// nil unless the bytes are UTF-8.
  init?(validating bytes: UnsafeRawBufferPointer, as encoding: UTF8.Type) {
    guard let text = String(validating: bytes.bindMemory(to: UInt8.self), as: UTF8.self) else { return nil }
    self = text
  }
}

/// `value` raised to a multiple of `unit`, a power of two. For values of our own, far from overflow.
@inline(__always)
func roundUp<Value: FixedWidthInteger>(_ value: Value, to unit: Value) -> Value { (value + unit - 1) & ~(unit - 1) }

@inline(__always)
func roundDown<Value: FixedWidthInteger>(_ value: Value, to unit: Value) -> Value { value & ~(unit - 1) }
