/// Reads big-endian fields from bytes that someone else wrote: nothing is assumed of their number, and running out is nil.
struct WireReader {
  private var rest: UnsafeRawBufferPointer

  /// `bytes` must outlive the reader.
  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value? {
    guard let field = bytes(MemoryLayout<Value>.size) else { return nil }
    return Value(bigEndian: field.loadUnaligned(as: Value.self))
  }

  mutating func bytes(_ byteCount: Int) -> UnsafeRawBufferPointer? {
    guard byteCount >= 0, byteCount <= rest.count else { return nil }
    defer { rest = UnsafeRawBufferPointer(rebasing: rest[byteCount...]) }
    return UnsafeRawBufferPointer(rebasing: rest[..<byteCount])
  }

  /// UTF-8 without NUL, as the protocol wants every string; nil when it is not that.
  mutating func string(_ byteCount: Int) -> String? {
    guard let field = bytes(byteCount), !field.contains(0) else { return nil }
    return String(validating: field, as: UTF8.self)
  }
}

/// Builds handshake messages. Replies of the transmission phase are built in place: see ReplyBatch.
struct WireWriter {
  private(set) var bytes: [UInt8] = []

  mutating func append<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ string: String) { bytes.append(contentsOf: string.utf8) }
  mutating func append(contentsOf other: [UInt8]) { bytes.append(contentsOf: other) }
  mutating func append(zeros count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }
}
