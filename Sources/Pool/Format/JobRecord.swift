/// A job of the pool (key: job number): kept so that it goes on where it stopped, and is deleted when it ends.
public struct JobRecord: MetadataRecord {
  public static let kind = RecordKind.job

  public struct Kind: RawRepresentable, Hashable, Sendable, Codable, CustomStringConvertible {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Copies that may differ, or lack what was written while their disk was away, are brought together.
    public static let resync = Kind(rawValue: 1)
    /// Copies whose disk is away get new slabs on other disks.
    public static let repair = Kind(rawValue: 2)
    /// A disk is emptied, and then released.
    public static let retire = Kind(rawValue: 3)
    /// Slabs are moved until the disks are equally full.
    public static let optimize = Kind(rawValue: 4)
    /// Everything is read, and copies are compared.
    public static let scrub = Kind(rawValue: 5)

    public var description: String {
      switch self {
      case .resync: "resync"
      case .repair: "repair"
      case .retire: "retire"
      case .optimize: "optimize"
      case .scrub: "scrub"
      default: "kind \(rawValue)"
      }
    }
  }

  public var number: UInt64
  public var jobKind: Kind
  /// The disk that is retired, or whose copies are made anew; 0 for none, and in a repair for copies without a slab.
  public var disk: DiskNumber
  /// The disk that takes its place; 0 for any.
  public var destination: DiskNumber
  /// Bytes copied or read so far, and in all as far as is known.
  public var doneByteCount: UInt64
  public var totalByteCount: UInt64
  /// How far a scrub has come: the virtual disk and its row that come next.
  public var nextVirtualDisk: VirtualDiskNumber
  public var nextRow: UInt64
  /// Seconds since 1970, UTC.
  public var startedSeconds: UInt64
  public var trailing: [UInt8] = []

  public init(
    number: UInt64, kind: Kind, disk: DiskNumber = DiskNumber(0), destination: DiskNumber = DiskNumber(0), doneByteCount: UInt64 = 0,
    totalByteCount: UInt64 = 0, nextVirtualDisk: VirtualDiskNumber = VirtualDiskNumber(0), nextRow: UInt64 = 0, startedSeconds: UInt64
  ) {
    self.number = number
    jobKind = kind
    self.disk = disk
    self.destination = destination
    self.doneByteCount = doneByteCount
    self.totalByteCount = totalByteCount
    self.nextVirtualDisk = nextVirtualDisk
    self.nextRow = nextRow
    self.startedSeconds = startedSeconds
  }

  public static func key(_ number: UInt64) -> RecordKey { RecordKey(.job, number) }
  public var key: RecordKey { JobRecord.key(number) }

  public func encodeValue(_ writer: inout ByteWriter) {
    writer.integer(jobKind.rawValue)
    writer.zeros(7)
    writer.number(disk)
    writer.number(destination)
    writer.integer(doneByteCount)
    writer.integer(totalByteCount)
    writer.number(nextVirtualDisk)
    writer.integer(nextRow)
    writer.integer(startedSeconds)
    writer.zeros(16)
    writer.append(trailing)
  }

  public init(key: RecordKey, value reader: inout ByteReader) throws(FormatError) {
    guard key.first > 0, key.first < FormatLimits.numberLimit, key.second == 0 else { throw .invalid("job number") }
    number = key.first
    jobKind = Kind(rawValue: try reader.integer())
    try reader.skip(7)
    disk = try reader.number()
    destination = try reader.number()
    doneByteCount = try reader.integer()
    totalByteCount = try reader.integer()
    nextVirtualDisk = try reader.number()
    nextRow = try reader.integer()
    startedSeconds = try reader.integer()
    try reader.skip(16)
    guard max(doneByteCount, totalByteCount) < FormatLimits.numberLimit else { throw .invalid("progress of a job") }
    trailing = reader.rest()
  }
}
