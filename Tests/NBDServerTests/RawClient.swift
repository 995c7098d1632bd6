import CLinux
import Testing
import var Glibc.errno

/// A client that sends exactly the bytes it is told to, over blocking sockets with a time limit, so that a test that would hang fails.
final class RawClient {
  struct Disconnected: Error {}
  struct OptionReply: Equatable {
    var option: UInt32
    var type: UInt32
    var data: [UInt8]
    var text: String { String(decoding: data, as: UTF8.self) }
  }

  private(set) var descriptor: Int32
  static let timeLimitSeconds = 20

  init(descriptor: Int32) {
    self.descriptor = descriptor
    var limit = timeval(tv_sec: RawClient.timeLimitSeconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  deinit { close() }

  func close() {
    if descriptor >= 0 { _ = CLinux.close(descriptor) }
    descriptor = -1
  }

  func shutdownWrites() { _ = CLinux.shutdown(descriptor, Int32(SHUT_WR)) }

  // MARK: Bytes

  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { CLinux.send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL)) }
      if count <= 0 { throw Disconnected() }
      sent += count
    }
  }

  func receive(_ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + filled, count - filled, 0) }
      if got <= 0 { throw Disconnected() }
      filled += got
    }
    return bytes
  }

  /// True when the server closes; false when it sends something, or nothing for the time limit.
  func isClosedByServer() -> Bool {
    var byte: UInt8 = 0
    let got = recv(descriptor, &byte, 1, 0)
    return got == 0 || (got < 0 && errno == ECONNRESET)
  }

  /// True when nothing comes right now.
  func isSilent() -> Bool {
    var byte: UInt8 = 0
    return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT | MSG_PEEK)) < 0 && errno == EAGAIN
  }

  // MARK: Handshake

  func greet(flags: UInt32 = 3) throws {
    let greeting = try receive(18)
    #expect(greeting == bigEndian(UInt64(0x4e42_444d_4147_4943)) + bigEndian(UInt64(0x4948_4156_454f_5054)) + [0, 3])
    try send(bigEndian(flags))
  }

  static func option(_ number: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    bigEndian(UInt64(0x4948_4156_454f_5054)) + bigEndian(number) + bigEndian(UInt32(data.count)) + data
  }

  static func query(_ name: String, _ types: [UInt16] = []) -> [UInt8] {
    bigEndian(UInt32(name.utf8.count)) + Array(name.utf8) + bigEndian(UInt16(types.count)) + types.flatMap { bigEndian($0) }
  }

  func receiveOptionReply() throws -> OptionReply {
    let header = try receive(20)
    #expect(Array(header[0..<8]) == bigEndian(UInt64(0x0003_e889_0455_65a9)))
    let length: UInt32 = integer(header, 16)
    return OptionReply(option: integer(header, 8), type: integer(header, 12), data: try receive(Int(length)))
  }

  /// Sends an option and gathers its replies up to the final one.
  func ask(_ number: UInt32, _ data: [UInt8] = []) throws -> [OptionReply] {
    try send(RawClient.option(number, data))
    var replies: [OptionReply] = []
    while true {
      let reply = try receiveOptionReply()
      #expect(reply.option == number)
      replies.append(reply)
      if reply.type == 1 || reply.type >= 1 << 31 { return replies }
    }
  }

  /// From connecting to transmission.
  func enter(_ name: String = "disk") throws {
    try greet()
    let replies = try ask(7, RawClient.query(name))
    try #require(replies.last?.type == 1)
  }

  static func metaQuery(_ name: String, _ queries: [String]) -> [UInt8] {
    bigEndian(UInt32(name.utf8.count)) + Array(name.utf8) + bigEndian(UInt32(queries.count))
      + queries.flatMap { bigEndian(UInt32($0.utf8.count)) + Array($0.utf8) }
  }

  // MARK: Transmission

  static func extendedRequest(
    _ type: UInt16, cookie: UInt64 = 1, at offset: UInt64 = 0, length: UInt64 = 0, flags: UInt16 = 0, payload: [UInt8] = []
  ) -> [UInt8] {
    var bytes = bigEndian(UInt32(0x21e4_1c71)) + bigEndian(flags) + bigEndian(type) + bigEndian(cookie)
    bytes += bigEndian(offset) + bigEndian(length) + payload
    return bytes
  }

  static func request(
    _ type: UInt16, cookie: UInt64 = 1, at offset: UInt64 = 0, length: UInt32 = 0, flags: UInt16 = 0, payload: [UInt8] = []
  ) -> [UInt8] {
    var bytes = bigEndian(UInt32(0x2560_9513)) + bigEndian(flags) + bigEndian(type) + bigEndian(cookie)
    bytes += bigEndian(offset) + bigEndian(length) + payload
    return bytes
  }

  func receiveReply() throws -> (error: UInt32, cookie: UInt64) {
    let header = try receive(16)
    #expect(Array(header[0..<4]) == bigEndian(UInt32(0x6744_6698)))
    return (integer(header, 4), integer(header, 8))
  }

  /// Sends one request without data in its reply, and returns the reply's error.
  func perform(
    _ type: UInt16, at offset: UInt64 = 0, length: UInt32 = 0, flags: UInt16 = 0, payload: [UInt8] = []
  ) throws -> UInt32 {
    try send(RawClient.request(type, cookie: 77, at: offset, length: length, flags: flags, payload: payload))
    let reply = try receiveReply()
    #expect(reply.cookie == 77)
    return reply.error
  }

  func write(_ payload: [UInt8], at offset: UInt64, flags: UInt16 = 0) throws -> UInt32 {
    try perform(1, at: offset, length: UInt32(payload.count), flags: flags, payload: payload)
  }

  func read(at offset: UInt64, length: UInt32, flags: UInt16 = 0) throws -> [UInt8] {
    #expect(try perform(0, at: offset, length: length, flags: flags) == 0)
    return try receive(Int(length))
  }
}

func bigEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

func integer<Value: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int) -> Value {
  bytes.withUnsafeBytes { Value(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
}
