import BlockDevice

/// A request header as it came, fields not yet judged.
struct RequestHeader: Equatable {
  /// Bytes of a header in the compact format, and in the extended one.
  static let byteCount = 28
  static let extendedByteCount = 32

  var flags: CommandFlags
  var type: UInt16
  /// The client's name for the request, sent back as it came.
  var cookie: UInt64
  var offset: UInt64
  /// Bytes that the request is about, or that follow as its payload: 32 bits in the compact format, 64 in the extended one.
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

  /// The same in the extended format: `bytes` has at least `extendedByteCount` bytes.
  static func decodeExtended(_ bytes: UnsafeRawPointer) -> RequestHeader? {
    guard UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)) == Magic.extendedRequest else { return nil }
    return RequestHeader(
      flags: CommandFlags(rawValue: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt16.self))),
      type: UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 6, as: UInt16.self)),
      cookie: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
      offset: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
      length: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)))
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
  var style = MessageStyle.simple
  /// What BLOCK_STATUS tells, where there is anything it may be asked for.
  var metaContexts: MetaContextSet = []
  /// What offsets and lengths are multiples of; 1 where the client has not promised anything. A power of two.
  var minimumBlockByteCount: UInt64 = 1

  /// Bytes that follow the header in the stream, whatever becomes of the request.
  @inline(__always)
  func payloadByteCount(of request: RequestHeader) -> UInt64 {
    let hasPayload = style == .extended ? request.flags.contains(.payloadLength) : request.type == Command.write.rawValue
    return hasPayload ? request.length : 0
  }

  /// `exportByteCount` is the export's size now: it may have grown since the handshake. What `request` brought with it to say more of itself
  /// is not in it any more.
  func judge(_ request: RequestHeader, exportByteCount: UInt64) -> Verdict {
    let longest = style == .extended ? WireLimits.payloadByteCount : WireLimits.skippedPayloadByteCount
    if payloadByteCount(of: request) > longest { return .unreadable }
    guard let command = Command(rawValue: request.type) else { return .refuse(.invalid) }
    if command == .disconnect { return .disconnect }
    guard request.flags.isSubset(of: allowedFlags(of: command)) else { return .refuse(.invalid) }
    if command == .flush { return request.offset == 0 && request.length == 0 ? .perform(.flush) : .refuse(.flushWithRange) }
    if isReadOnly && command.changesData { return .refuse(.notPermitted) }
    // In the extended format a length without the flag is not that of a payload.
    if command == .write && style == .extended && !request.flags.contains(.payloadLength) { return .refuse(.withoutPayloadLength) }
    if (command == .read || command == .write) && request.length > WireLimits.payloadByteCount {
      return .refuse(command == .read && style != .simple ? .overflow : .tooLong)
    }
    let (end, overflow) = request.offset.addingReportingOverflow(request.length)
    if overflow || end > exportByteCount { return .refuse(command.outOfRangeError) }
    if (request.offset | request.length) & (minimumBlockByteCount - 1) != 0 { return .refuse(.invalid) }
    if command == .blockStatus && metaContexts.isEmpty { return .refuse(.withoutContexts) }
    if command == .blockStatus && request.length == 0 { return .refuse(.emptyStatus) }
    return request.length == 0 ? .succeed : .perform(command)
  }

  /// What the request needs of payload buffers. Bytes.
  @inline(__always)
  static func bufferByteCount(of command: Command, _ request: RequestHeader) -> Int {
    switch command {
    case .read, .write: Int(request.length)  // judged: 32 MiB at most
    case .cache: Int(WireLimits.cachePieceByteCount)
    case .blockStatus: WireLimits.statusReplyByteCount
    default: 0
    }
  }

  /// A BLOCK_STATUS that brings its length, and which contexts it asks for, as a payload that may be right.
  @inline(__always)
  func hasStatusPayload(_ request: RequestHeader) -> Bool {
    style == .extended && request.type == Command.blockStatus.rawValue && request.flags.contains(.payloadLength)
      && StatusPayload.byteCounts(metaContexts).contains(request.length)
  }

  private func allowedFlags(of command: Command) -> CommandFlags {
    switch command {
    case .read: style == .simple ? .forceUnitAccess : [.forceUnitAccess, .dontFragment]
    case .write: style == .extended ? [.forceUnitAccess, .payloadLength] : .forceUnitAccess
    case .writeZeroes: [.forceUnitAccess, .noHole, .fastZero]
    case .blockStatus: [.forceUnitAccess, .requestOne]
    case .flush, .trim, .cache, .disconnect: .forceUnitAccess
    }
  }
}

extension Command {
  /// The protocol text: no space where something would have been stored, else an invalid request.
  var outOfRangeError: ReplyError { self == .write || self == .writeZeroes ? .noSpace : .invalid }

  var changesData: Bool { self == .write || self == .trim || self == .writeZeroes }
}

extension ReplyError {
  /// How a device's error is told to a client. ENOTSUP is for FAST_ZERO alone.
  init(_ error: BlockError, of command: Command, flags: CommandFlags = []) {
    switch error.cause {
    case .ioFailed, .corrupt, .stalled: self = .inputOutput
    case .noSpace: self = .noSpace
    case .outOfRange: self = command.outOfRangeError
    case .misaligned: self = .invalid
    case .unsupported: self = command == .writeZeroes && flags.contains(.fastZero) ? .notSupported : .invalid
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
    if flags.contains(.fastZero) { insert(.onlyFast) }
  }
}
