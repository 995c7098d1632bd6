/// Numbers of the NBD protocol, named as in its text (NetworkBlockDevice/nbd, doc/proto.md). All are sent big-endian.
enum Magic {
  /// "NBDMAGIC"
  static let server: UInt64 = 0x4e42_444d_4147_4943
  /// "IHAVEOPT"
  static let option: UInt64 = 0x4948_4156_454f_5054
  static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  static let request: UInt32 = 0x2560_9513
  static let simpleReply: UInt32 = 0x6744_6698
  static let structuredReply: UInt32 = 0x668e_33ef
  static let extendedRequest: UInt32 = 0x21e4_1c71
  static let extendedReply: UInt32 = 0x6e8a_278c
}

struct HandshakeFlags: OptionSet {
  let rawValue: UInt16
  static let fixedNewstyle = HandshakeFlags(rawValue: 1 << 0)
  static let noZeroes = HandshakeFlags(rawValue: 1 << 1)
}

enum OptionNumber: UInt32 {
  case exportName = 1
  case abort = 2
  case list = 3
  case startTLS = 5
  case info = 6
  case go = 7
  case structuredReply = 8
  case listMetaContext = 9
  case setMetaContext = 10
  case extendedHeaders = 11
}

enum OptionReplyType: UInt32 {
  case acknowledge = 1
  case server = 2
  case information = 3
  case metaContext = 4
  case errorUnsupported = 0x8000_0001
  case errorPolicy = 0x8000_0002
  case errorInvalid = 0x8000_0003
  case errorPlatform = 0x8000_0004
  case errorTLSRequired = 0x8000_0005
  case errorUnknown = 0x8000_0006
  case errorShutdown = 0x8000_0007
  case errorTooBig = 0x8000_0009
  case errorExtendedHeadersRequired = 0x8000_000a
}

enum InformationType: UInt16 {
  case export = 0
  case name = 1
  case description = 2
  case blockSize = 3
}

/// What a client may do with an export.
struct TransmissionFlags: OptionSet, Equatable {
  let rawValue: UInt16
  static let hasFlags = TransmissionFlags(rawValue: 1 << 0)
  static let readOnly = TransmissionFlags(rawValue: 1 << 1)
  static let sendFlush = TransmissionFlags(rawValue: 1 << 2)
  static let sendFUA = TransmissionFlags(rawValue: 1 << 3)
  static let rotational = TransmissionFlags(rawValue: 1 << 4)
  static let sendTrim = TransmissionFlags(rawValue: 1 << 5)
  static let sendWriteZeroes = TransmissionFlags(rawValue: 1 << 6)
  static let sendDontFragment = TransmissionFlags(rawValue: 1 << 7)
  static let canMultiConn = TransmissionFlags(rawValue: 1 << 8)
  static let sendCache = TransmissionFlags(rawValue: 1 << 10)
  static let sendFastZero = TransmissionFlags(rawValue: 1 << 11)
  static let blockStatusPayload = TransmissionFlags(rawValue: 1 << 12)
}

enum Command: UInt16 {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7
}

struct CommandFlags: OptionSet, Equatable {
  let rawValue: UInt16
  static let forceUnitAccess = CommandFlags(rawValue: 1 << 0)
  static let noHole = CommandFlags(rawValue: 1 << 1)
  static let dontFragment = CommandFlags(rawValue: 1 << 2)
  static let requestOne = CommandFlags(rawValue: 1 << 3)
  static let fastZero = CommandFlags(rawValue: 1 << 4)
  /// With extended headers: the length is that of a payload behind the header.
  static let payloadLength = CommandFlags(rawValue: 1 << 5)
}

/// What a chunk of a reply holds.
enum ChunkType: UInt16 {
  case none = 0
  case offsetData = 1
  case offsetHole = 2
  case blockStatus = 5
  case blockStatusExtended = 6
  case error = 0x8001
  case errorOffset = 0x8002

  /// In the chunk's flags: it is the reply's last.
  static let done: UInt16 = 1
}

/// The flags of base:allocation.
enum AllocationState {
  static let hole: UInt64 = 1 << 0
  static let zero: UInt64 = 1 << 1
}

/// The error of a reply, and what it means here: the protocol has one number for many kinds of it.
enum ReplyError: CaseIterable {
  case none
  case notPermitted, inputOutput, noMemory, noSpace, overflow, notSupported, shuttingDown
  // EINVAL
  case invalid, tooLong, flushWithRange, withoutContexts, emptyStatus, badStatusPayload, withoutPayloadLength

  /// On the wire; 0 is success.
  var code: UInt32 {
    switch self {
    case .none: 0
    case .notPermitted: 1
    case .inputOutput: 5
    case .noMemory: 12
    case .invalid, .tooLong, .flushWithRange, .withoutContexts, .emptyStatus, .badStatusPayload, .withoutPayloadLength: 22
    case .noSpace: 28
    case .overflow: 75
    case .notSupported: 95
    case .shuttingDown: 108
    }
  }

  /// For people: goes with the error where replies have chunks. ASCII, at most `WireLimits.errorMessageByteCount` bytes.
  var message: StaticString {
    switch self {
    case .none: ""
    case .notPermitted: "the export is read-only"
    case .inputOutput: "the disks below failed the request; the server's log and spaceport status say more"
    case .noMemory: "the server has no memory for the request"
    case .invalid: "the request is not valid here: unknown command or flag, beyond the end, or not aligned"
    case .tooLong, .overflow: "the request is too long; 32 MiB can be read or written at once"
    case .flushWithRange: "FLUSH is about the whole export: its offset and length have to be 0"
    case .withoutContexts: "no context was selected for this export: SET_META_CONTEXT has to come before BLOCK_STATUS"
    case .emptyStatus: "BLOCK_STATUS of no bytes has no answer"
    case .badStatusPayload: "the payload of BLOCK_STATUS names a context that was not selected, or one twice, or is cut off"
    case .withoutPayloadLength: "with extended headers WRITE needs the flag PAYLOAD_LEN"
    case .noSpace: "no space is left in the pool, or the request reaches beyond the end of the export"
    case .notSupported: "zeroing here would take as long as writing"
    case .shuttingDown: "the export is being closed"
    }
  }
}
