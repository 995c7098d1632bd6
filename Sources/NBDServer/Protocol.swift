/// Numbers of the NBD protocol, named as in its text (NetworkBlockDevice/nbd, doc/proto.md). All are sent big-endian.
enum Magic {
  /// "NBDMAGIC"
  static let server: UInt64 = 0x4e42_444d_4147_4943
  /// "IHAVEOPT"
  static let option: UInt64 = 0x4948_4156_454f_5054
  static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  static let request: UInt32 = 0x2560_9513
  static let simpleReply: UInt32 = 0x6744_6698
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
  case errorUnsupported = 0x8000_0001
  case errorPolicy = 0x8000_0002
  case errorInvalid = 0x8000_0003
  case errorPlatform = 0x8000_0004
  case errorTLSRequired = 0x8000_0005
  case errorUnknown = 0x8000_0006
  case errorShutdown = 0x8000_0007
  case errorTooBig = 0x8000_0009
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
  static let canMultiConn = TransmissionFlags(rawValue: 1 << 8)
}

enum Command: UInt16 {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case writeZeroes = 6
}

struct CommandFlags: OptionSet, Equatable {
  let rawValue: UInt16
  static let forceUnitAccess = CommandFlags(rawValue: 1 << 0)
  static let noHole = CommandFlags(rawValue: 1 << 1)
}

/// The error of a reply; 0 is success.
enum ReplyError: UInt32 {
  case none = 0
  case notPermitted = 1
  case inputOutput = 5
  case noMemory = 12
  case invalid = 22
  case noSpace = 28
  case shuttingDown = 108
}
