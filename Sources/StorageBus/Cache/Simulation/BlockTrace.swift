/// One request of a block trace.
public struct BlockTraceRequest: Equatable, Sendable {
  /// Since any moment; never falls.
  public var microseconds: UInt64
  public var isWrite: Bool
  /// Bytes; with `byteCount` at most 2^63 - 1.
  public var offset: UInt64
  /// 1 ... `BlockTraceLimits.requestByteCount`.
  public var byteCount: UInt64

  public init(microseconds: UInt64, isWrite: Bool, offset: UInt64, byteCount: UInt64) {
    self.microseconds = microseconds
    self.isWrite = isWrite
    self.offset = offset
    self.byteCount = byteCount
  }
}

public enum BlockTraceLimits {
  /// No client asks for more at once; a larger number is another unit or a mistake.
  public static let requestByteCount: UInt64 = 1 << 30
  /// Bytes of a line.
  public static let lineLength = 4096
}

/// What is wrong with a trace, where, and what to do.
public struct BlockTraceError: Error, Equatable, CustomStringConvertible {
  /// The first line is 1.
  public var line: Int
  public var problem: String
  public var remedy: String

  public var description: String { "line \(line): \(problem). \(remedy)." }
}

/// Reads a block trace, given in pieces of any length: lines of comma-separated values under a header that names the columns `time`
/// (integer microseconds that never fall), `op` (r or w), `offset_bytes` and `byte_count`, in any order; others are passed over.
public struct BlockTraceParser {
  private enum Column: String, CaseIterable {
    case time, op
    case offset = "offset_bytes"
    case byteCount = "byte_count"
  }

  /// The columns' kinds in the file's order, once the header was read.
  private var columns: [Column?]?
  /// The beginning of a line whose end is yet to come.
  private var partial: [UInt8] = []
  private var line = 0
  private var lastTime: UInt64 = 0

  public init() {}

  /// Reads on. Each request that is complete is handed on.
  public mutating func read(
    _ bytes: UnsafeRawBufferPointer, _ body: (BlockTraceRequest) -> Void
  ) throws(BlockTraceError) {
    var start = 0
    while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
      if partial.isEmpty {
        try readLine(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), body)
      } else {
        partial += bytes[start..<end]
        try readPartial(body)
      }
      start = end + 1
    }
    guard partial.count + bytes.count - start <= BlockTraceLimits.lineLength else {
      line += 1
      throw problem("it is longer than \(BlockTraceLimits.lineLength) bytes", "This is no trace: give a CSV file")
    }
    partial += bytes[start...]
  }

  /// The trace is at its end.
  public mutating func finish(_ body: (BlockTraceRequest) -> Void) throws(BlockTraceError) {
    if !partial.isEmpty { try readPartial(body) }
    guard columns != nil else {
      line = 1
      throw problem("the trace is empty", "Begin with the header \(BlockTraceParser.header)")
    }
  }

  private static var header: String { "time,op,offset_bytes,byte_count" }

  private mutating func readPartial(_ body: (BlockTraceRequest) -> Void) throws(BlockTraceError) {
    let whole = partial
    partial.removeAll(keepingCapacity: true)
    let result = whole.withUnsafeBytes { bytes in
      Result { () throws(BlockTraceError) in try readLine(bytes, body) }
    }
    try result.get()
  }

  private mutating func readLine(_ bytes: UnsafeRawBufferPointer, _ body: (BlockTraceRequest) -> Void) throws(BlockTraceError) {
    line += 1
    var text = bytes[...]
    if text.last == UInt8(ascii: "\r") { text.removeLast() }
    guard !text.isEmpty else { return }
    if let columns { body(try request(text, columns)) } else { columns = try readHeader(text) }
  }

  private func readHeader(_ text: Slice<UnsafeRawBufferPointer>) throws(BlockTraceError) -> [Column?] {
    let names = text.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false).map { BlockTraceParser.word($0) }
    for column in Column.allCases {
      let count = names.count { $0 == column.rawValue }
      guard count != 0 else {
        throw problem("the header names no column '\(column.rawValue)'", "Begin with the header \(BlockTraceParser.header)")
      }
      guard count == 1 else { throw problem("the header names '\(column.rawValue)' twice", "Name each column once") }
    }
    return names.map { Column(rawValue: $0) }
  }

  private mutating func request(_ text: Slice<UnsafeRawBufferPointer>, _ columns: [Column?]) throws(BlockTraceError) -> BlockTraceRequest {
    var request = BlockTraceRequest(microseconds: 0, isWrite: false, offset: 0, byteCount: 0)
    var start = text.startIndex
    for (number, column) in columns.enumerated() {
      guard start <= text.endIndex else {
        throw problem("it has \(number) fields of \(columns.count)", "Give each line as many fields as the header names")
      }
      let end = text[start...].firstIndex(of: UInt8(ascii: ",")) ?? text.endIndex
      let field = text[start..<end]
      switch column {
      case .time: request.microseconds = try self.number(field, "time")
      case .op: request.isWrite = try isWrite(field)
      case .offset: request.offset = try self.number(field, "offset_bytes")
      case .byteCount: request.byteCount = try self.number(field, "byte_count")
      case nil: break
      }
      start = end + 1
    }
    guard start > text.endIndex else {
      throw problem("it has more fields than the \(columns.count) of the header", "Give each line as many fields as the header names")
    }
    try check(request)
    lastTime = request.microseconds
    return request
  }

  private func check(_ request: BlockTraceRequest) throws(BlockTraceError) {
    guard request.microseconds >= lastTime else {
      throw problem("the time falls from \(lastTime) to \(request.microseconds)", "Sort the trace by time")
    }
    guard request.byteCount > 0 else { throw problem("byte_count is 0", "Leave out requests that carry no data, as flushes") }
    guard request.byteCount <= BlockTraceLimits.requestByteCount else {
      throw problem(
        "byte_count \(request.byteCount) is more than \(BlockTraceLimits.requestByteCount)", "Give byte_count in bytes of one request")
    }
    guard request.offset <= UInt64(Int64.max) - request.byteCount else {
      throw problem("offset_bytes \(request.offset) with byte_count ends beyond 2^63", "Give offset_bytes in bytes of a disk")
    }
  }

  private func isWrite(_ field: Slice<UnsafeRawBufferPointer>) throws(BlockTraceError) -> Bool {
    if field.count == 1, field.first == UInt8(ascii: "r") { return false }
    if field.count == 1, field.first == UInt8(ascii: "w") { return true }
    throw problem("op '\(BlockTraceParser.word(field))' is unknown", "Write r for a read, w for a write, and leave out others")
  }

  private func number(_ field: Slice<UnsafeRawBufferPointer>, _ name: String) throws(BlockTraceError) -> UInt64 {
    var value: UInt64 = 0
    var isNumber = !field.isEmpty
    for byte in field {
      let digit = byte &- UInt8(ascii: "0")
      guard digit <= 9 else {
        isNumber = false
        break
      }
      let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = tenfold.addingReportingOverflow(UInt64(digit))
      guard !overflow, !carry, sum <= UInt64(Int64.max) else {
        throw problem("\(name) '\(BlockTraceParser.word(field))' is too large", "Give a whole number below 2^63")
      }
      value = sum
    }
    guard isNumber else {
      throw problem(
        "\(name) '\(BlockTraceParser.word(field))' is no whole number of 0 or more", "Give it in decimal digits, without sign or point")
    }
    return value
  }

  private func problem(_ problem: String, _ remedy: String) -> BlockTraceError {
    BlockTraceError(line: line, problem: problem, remedy: remedy)
  }

  /// A field for a message: not more of it than helps.
  private static func word(_ field: Slice<UnsafeRawBufferPointer>) -> String { String(decoding: field.prefix(40), as: UTF8.self) }
}
