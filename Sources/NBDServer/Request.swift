import BlockDevice

/// A request header as it came, fields not yet judged.
struct RequestHeader: Equatable {
  /// Bytes of a header in the compact format.
  static let byteCount = 28

  var flags: CommandFlags
  var type: UInt16
  /// The client's name for the request, sent back as it came.
  var cookie: UInt64
  var offset: UInt64
  /// Bytes: 32 bits in this format, 64 in the extended one.
  var length: UInt64

  /// nil when the magic is wrong: the stream is out of step and cannot be trusted any further. `bytes` has at least `byteCount` bytes.
  @inline(__always)
  static func decode(_ bytes: UnsafeRawPointer) -> RequestHeader? {
    guard UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)) == Magic.request else { return nil }
    return RequestHeader(
      flags: CommandFlags(rawValue: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self))),
      type: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 6, as: UInt16.self)),
      cookie: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
      offset: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
      length: UInt64(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self))))
  }
}

/// What is to be done with a request.
enum Verdict: Equatable {
  /// Hand it to the device.
  case perform(Command)
  /// Nothing to do: it succeeds.
  case succeed
  case refuse(ReplyError)
  /// The client takes its leave.
  case disconnect
  /// What follows in the stream cannot be read any more.
  case unreadable
}

/// The rules a request is judged by, before any of it is done.
struct RequestRules {
  var isReadOnly: Bool

  /// Bytes that follow the header in the stream, whatever becomes of the request.
  @inline(__always)
  static func payloadByteCount(of request: RequestHeader) -> UInt64 {
    request.type == Command.write.rawValue ? request.length : 0
  }

  /// `exportByteCount` is the export's size now: it may have grown since the handshake.
  func judge(_ request: RequestHeader, exportByteCount: UInt64) -> Verdict {
    if RequestRules.payloadByteCount(of: request) > WireLimits.skippedPayloadByteCount { return .unreadable }
    guard let command = Command(rawValue: request.type) else { return .refuse(.invalid) }
    let allowedFlags: CommandFlags = command == .writeZeroes ? [.forceUnitAccess, .noHole] : .forceUnitAccess
    if command == .disconnect { return .disconnect }
    guard request.flags.isSubset(of: allowedFlags) else { return .refuse(.invalid) }
    if command == .flush { return request.offset == 0 && request.length == 0 ? .perform(.flush) : .refuse(.invalid) }
    if command != .read && isReadOnly { return .refuse(.notPermitted) }
    if (command == .read || command == .write) && request.length > WireLimits.payloadByteCount { return .refuse(.invalid) }
    let (end, overflow) = request.offset.addingReportingOverflow(request.length)
    if overflow || end > exportByteCount { return .refuse(command.outOfRangeError) }
    return request.length == 0 ? .succeed : .perform(command)
  }
}

extension Command {
  /// The protocol text: no space where something would have been stored, else an invalid request.
  var outOfRangeError: ReplyError { self == .write || self == .writeZeroes ? .noSpace : .invalid }
}

extension ReplyError {
  /// How a device's error is told to a client. ENOTSUP is not among them: the protocol keeps it for FAST_ZERO.
  init(_ error: BlockError, of command: Command) {
    switch error.cause {
    case .ioFailed, .corrupt, .stalled: self = .inputOutput
    case .noSpace: self = .noSpace
    case .outOfRange: self = command.outOfRangeError
    case .misaligned, .unsupported: self = .invalid
    case .readOnly: self = .notPermitted
    case .shuttingDown: self = .shuttingDown
    case .noMemory: self = .noMemory
    }
  }
}

extension IOFlags {
  init(_ flags: CommandFlags) {
    self = []
    if flags.contains(.forceUnitAccess) { insert(.forceUnitAccess) }
    if flags.contains(.noHole) { insert(.keepAllocated) }
  }
}
