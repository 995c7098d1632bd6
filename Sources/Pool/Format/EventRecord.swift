/// Something that happened to a pool (key: event number, counted up). The oldest are deleted.
public struct EventRecord: MetadataRecord {
  public static let kind = RecordKind.event

  public enum Severity: UInt8, Sendable, Codable {
    case information = 1
    case warning = 2
    case error = 3
  }

  public var number: UInt64
  /// Seconds since 1970, UTC.
  public var seconds: UInt64
  public var severity: Severity
  /// A short word for programs: "diskEvicted".
  public var name: String
  /// The disk it happened to; 0 for none.
  public var disk: DiskNumber
  /// What happened, to what, and what to do next.
  public var message: String
  public var trailing: [UInt8] = []

  public init(number: UInt64, seconds: UInt64, severity: Severity, name: String, disk: DiskNumber = DiskNumber(0), message: String) {
    self.number = number
    self.seconds = seconds
    self.severity = severity
    self.name = name
    self.disk = disk
    self.message = message
  }

  public static func key(_ number: UInt64) -> RecordKey { RecordKey(.event, number) }
  public var key: RecordKey { EventRecord.key(number) }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.integer(seconds)
    writer.integer(severity.rawValue)
    writer.zeros(3)
    writer.number(disk)
    writer.zeros(16)
    writer.text(name, limit: FormatLimits.eventNameByteCount)
    writer.text(message, limit: FormatLimits.eventMessageByteCount)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0, key.first < FormatLimits.numberLimit, key.second == 0 else { throw .invalid("event number") }
    number = key.first
    seconds = try reader.integer()
    severity = Severity(rawValue: try reader.integer()) ?? .information
    try reader.skip(3)
    disk = try reader.number()
    try reader.skip(16)
    name = try reader.text(limit: FormatLimits.eventNameByteCount, "event name")
    message = try reader.text(limit: FormatLimits.eventMessageByteCount, "event message")
    trailing = reader.rest()
  }
}
