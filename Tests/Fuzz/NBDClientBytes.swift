@testable import NBDServer

// What a client sends, and how the server's answers are read: written from the protocol's text, not from the server's code.

extension Array where Element == UInt8 {
  mutating func append<Value: FixedWidthInteger>(big value: Value) { Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) } }

  func big<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
    precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count, "the server's message is cut off")
    return withUnsafeBytes { Value(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
  }

  mutating func set<Value: FixedWidthInteger>(big value: Value, at offset: Int) {
    withUnsafeMutableBytes { $0.storeBytes(of: value.bigEndian, toByteOffset: offset, as: Value.self) }
  }
}

enum OptionBytes {
  static let magic: UInt64 = 0x4948_4156_454f_5054
  static let headerByteCount = 16
  /// FIXED_NEWSTYLE, NO_ZEROES.
  static let clientFlags: [UInt8] = [0, 0, 0, 3]

  static func option(_ number: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(big: magic)
    bytes.append(big: number)
    bytes.append(big: UInt32(data.count))
    return bytes + data
  }

  private static let disk = [UInt8]("disk".utf8)
  /// GO with the export "disk".
  static let go = option(7, [0, 0, 0, 4] + disk + [0, 0])
  /// The same, asking for the block sizes.
  static let goByBlocks = option(7, [0, 0, 0, 4] + disk + [0, 1, 0, 3])

  /// SET_META_CONTEXT.
  static func select(_ names: [String]) -> [UInt8] {
    var data: [UInt8] = [0, 0, 0, 4] + disk
    data.append(big: UInt32(names.count))
    for name in names {
      data.append(big: UInt32(name.utf8.count))
      data += name.utf8
    }
    return option(10, data)
  }
}

/// A request as a client means it.
struct RequestBytes {
  var flags: UInt16 = 0
  var type: UInt16
  var offset: UInt64 = 0
  var length: UInt64 = 0

  static func headerByteCount(_ style: MessageStyle) -> Int { style == .extended ? 32 : 28 }
  static func magic(_ style: MessageStyle) -> UInt32 { style == .extended ? 0x21e4_1c71 : 0x2560_9513 }

  init(flags: UInt16 = 0, type: UInt16, offset: UInt64 = 0, length: UInt64 = 0) {
    (self.flags, self.type, self.offset, self.length) = (flags, type, offset, length)
  }

  /// The header at `place`; nil where none is.
  init?(_ bytes: [UInt8], at place: Int, _ style: MessageStyle) {
    guard bytes.count - place >= RequestBytes.headerByteCount(style), bytes.big(UInt32.self, at: place) == RequestBytes.magic(style) else {
      return nil
    }
    flags = bytes.big(UInt16.self, at: place + 4)
    type = bytes.big(UInt16.self, at: place + 6)
    offset = bytes.big(UInt64.self, at: place + 16)
    length = style == .extended ? bytes.big(UInt64.self, at: place + 24) : UInt64(bytes.big(UInt32.self, at: place + 24))
  }

  func encoded(_ style: MessageStyle, cookie: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(big: RequestBytes.magic(style))
    bytes.append(big: flags)
    bytes.append(big: type)
    bytes.append(big: cookie)
    bytes.append(big: offset)
    if style == .extended { bytes.append(big: length) } else { bytes.append(big: UInt32(truncatingIfNeeded: length)) }
    return bytes
  }

  /// Bytes that follow the header.
  func payloadByteCount(_ style: MessageStyle) -> UInt64 {
    if style == .extended { return flags & 1 << 5 != 0 ? length : 0 }
    return type == 1 ? length : 0
  }
}

/// The server's side of the handshake, read from the start.
struct HandshakeReader {
  private let bytes: [UInt8]
  private(set) var position = 0

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    precondition(bytes.isEmpty || bytes.count >= 18, "half a greeting")
    if bytes.isEmpty { return }
    precondition(
      bytes.big(UInt64.self, at: 0) == 0x4e42_444d_4147_4943 && bytes.big(UInt64.self, at: 8) == OptionBytes.magic, "no greeting")
    position = 18
  }

  var isAtEnd: Bool { position == bytes.count }
  var rest: [UInt8] { Array(bytes[position...]) }

  /// Reads all replies to an option; the type of the last, nil where the server closed instead.
  mutating func replies(to option: UInt32) -> UInt32? {
    while !isAtEnd {
      precondition(bytes.big(UInt64.self, at: position) == 0x0003_e889_0455_65a9, "no option reply where one belongs")
      precondition(bytes.big(UInt32.self, at: position + 8) == option, "a reply to another option")
      let type = bytes.big(UInt32.self, at: position + 12)
      let length = Int(bytes.big(UInt32.self, at: position + 16))
      precondition(length <= 8192 && bytes.count - position >= 20 + length, "an option reply of \(length) bytes is not all there")
      position += 20 + length
      if type == 1 || type >= 1 << 31 { return type }
      precondition((2...4).contains(type), "an option reply of no known type")
    }
    return nil
  }

  /// The answer to EXPORT_NAME; false where the server closed instead.
  mutating func exportReply(_ isShort: Bool) -> Bool {
    if isAtEnd { return false }
    let length = isShort ? 10 : 134
    precondition(bytes.count - position >= length, "half an answer to EXPORT_NAME")
    position += length
    return true
  }
}
