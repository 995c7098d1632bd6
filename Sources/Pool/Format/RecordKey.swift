/// What a record is about. The numbers are on disk: never changed, never reused. A kind that is not known is kept as it is; a pool whose
/// unknown kinds matter says so by a feature flag.
public struct RecordKind: RawRepresentable, Hashable, Sendable, Codable, CustomStringConvertible {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let pool = RecordKind(rawValue: 1)
  public static let disk = RecordKind(rawValue: 2)
  public static let virtualDisk = RecordKind(rawValue: 3)
  public static let map = RecordKind(rawValue: 4)
  public static let row = RecordKind(rawValue: 5)
  /// Regions of a row whose copies may differ (key: row).
  public static let dirtyRegions = RecordKind(rawValue: 6)
  public static let job = RecordKind(rawValue: 8)
  public static let event = RecordKind(rawValue: 9)
  // Reserved: their values are decided by whoever needs them first.
  /// What a stale copy lacks beside the dirty regions of its row (key: row, slab's place in the row).
  public static let staleRegions = RecordKind(rawValue: 7)
  public static let epochHistory = RecordKind(rawValue: 10)
  /// Slabs that hold more record pages.
  public static let metadataExtent = RecordKind(rawValue: 11)
  public static let setting = RecordKind(rawValue: 12)

  public var description: String {
    switch self {
    case .pool: "pool"
    case .disk: "disk"
    case .virtualDisk: "virtual disk"
    case .map: "map"
    case .row: "row"
    case .dirtyRegions: "dirty regions"
    case .staleRegions: "stale regions"
    case .job: "job"
    case .event: "event"
    case .epochHistory: "epoch history"
    case .metadataExtent: "metadata extent"
    case .setting: "setting"
    default: "kind \(rawValue)"
    }
  }
}

/// The name of a record, unique in the pool.
public struct RecordKey: Hashable, Sendable, CustomStringConvertible {
  public var kind: RecordKind
  public var first: UInt64
  public var second: UInt64

  public init(_ kind: RecordKind, _ first: UInt64 = 0, _ second: UInt64 = 0) {
    self.kind = kind
    self.first = first
    self.second = second
  }

  public var description: String { "\(kind) \(first)" + (second == 0 && kind != .map ? "" : "/\(second)") }
}

/// A record as it is stored: a key and bytes.
public struct Record: Equatable, Sendable {
  public var key: RecordKey
  /// Of the value's form; see `MetadataRecord`.
  public var version: UInt8
  public var value: [UInt8]

  public init(key: RecordKey, version: UInt8, value: [UInt8]) {
    self.key = key
    self.version = version
    self.value = value
  }
}

/// A record with a known form.
///
/// How forms grow: new fields are appended behind the known ones; what a program finds there and does not know it keeps in `trailing`
/// and writes back. So an old program may write a newer pool's records, unless a feature flag forbids it. The version is raised only when
/// that is not enough, always together with an incompatible feature flag; a version that is not known is refused.
public protocol MetadataRecord: Equatable, Sendable {
  static var kind: RecordKind { get }
  static var version: UInt8 { get }
  var key: RecordKey { get }
  func encodeValue(_ writer: inout ByteWriter)
  init(key: RecordKey, value: inout ByteReader) throws(FormatError)
}

extension MetadataRecord {
  public static var version: UInt8 { 1 }

  public var record: Record {
    var writer = ByteWriter()
    encodeValue(&writer)
    return Record(key: key, version: Self.version, value: writer.bytes)
  }

  public init(key: RecordKey, version: UInt8, value: UnsafeRawBufferPointer) throws(FormatError) {
    guard key.kind == Self.kind else { throw .invalid("kind of record") }
    guard version == Self.version else { throw .unsupportedVersion(UInt16(version)) }
    var reader = ByteReader(value)
    try self.init(key: key, value: &reader)
  }

  public init(_ record: Record) throws(FormatError) {
    let result = record.value.withUnsafeBytes { bytes in
      Result { () throws(FormatError) -> Self in try Self(key: record.key, version: record.version, value: bytes) }
    }
    self = try result.get()
  }
}
