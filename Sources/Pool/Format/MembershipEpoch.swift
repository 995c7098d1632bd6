/// One membership of a pool (rules M): who may speak for it. Its predecessor and survivors let a later opening tell a disk that was
/// evicted from one that merely missed the news.
public struct MembershipEpoch: Equatable, Sendable, Codable {
  public enum Role: UInt8, Sendable, Codable {
    case voter = 1
    /// Is being copied to; becomes a voter by the next change.
    case learner = 2
  }

  public struct Member: Equatable, Sendable, Codable {
    public var disk: DiskID
    public var number: DiskNumber
    public var role: Role
    public init(disk: DiskID, number: DiskNumber, role: Role = .voter) {
      self.disk = disk
      self.number = number
      self.role = role
    }
  }

  /// From 1 on.
  public var number: UInt64
  public var id: EpochID
  /// `none` for the first.
  public var predecessor: EpochID
  /// Disks of the pool, voters or not.
  public var diskCount: UInt32
  /// The voters and learners, at most `FormatLimits.voterCount`. Voters that stand in the predecessor as well are its survivors.
  public var members: [Member]

  public init(number: UInt64, id: EpochID, predecessor: EpochID, diskCount: UInt32, members: [Member]) {
    self.number = number
    self.id = id
    self.predecessor = predecessor
    self.diskCount = diskCount
    self.members = members
  }

  public var voters: [DiskID] { members.filter { $0.role == .voter }.map(\.disk) }

  private static let memberByteCount = 32
  /// What it takes in a superblock: 64 bytes and 32 for each member.
  static let byteCount = 64 + memberByteCount * FormatLimits.voterCount

  func encode(_ bytes: UnsafeMutableRawBufferPointer, at start: Int) {
    bytes.setLittle(number, at: start)
    bytes.setUUID(id.bytes, at: start + 8)
    bytes.setUUID(predecessor.bytes, at: start + 24)
    bytes.setLittle(diskCount, at: start + 40)
    bytes.setLittle(UInt32(members.count), at: start + 44)
    for (index, member) in members.enumerated() {
      let offset = start + 64 + index * MembershipEpoch.memberByteCount
      bytes.setUUID(member.disk.bytes, at: offset)
      bytes.setLittle(member.number.value, at: offset + 16)
      bytes.setLittle(member.role.rawValue, at: offset + 20)
    }
  }

  init(_ bytes: UnsafeRawBufferPointer, at start: Int) throws(FormatError) {
    number = bytes.little(UInt64.self, at: start)
    guard number < 1 << 62 else { throw .invalid("epoch number") }
    id = EpochID(bytes: bytes.uuid(at: start + 8))
    predecessor = EpochID(bytes: bytes.uuid(at: start + 24))
    diskCount = bytes.little(UInt32.self, at: start + 40)
    let count = bytes.little(UInt32.self, at: start + 44)
    guard count <= UInt32(FormatLimits.voterCount) else { throw .invalid("number of voters") }
    members = []
    for index in 0..<Int(count) {
      let offset = start + 64 + index * MembershipEpoch.memberByteCount
      guard let role = Role(rawValue: bytes.little(UInt8.self, at: offset + 20)) else { throw .invalid("voter role") }
      let disk = DiskID(bytes: bytes.uuid(at: offset))
      guard !members.contains(where: { $0.disk == disk }) else { throw .invalid("voter, named twice") }
      members.append(Member(disk: disk, number: DiskNumber(bytes.little(UInt32.self, at: offset + 16)), role: role))
    }
  }
}

/// What a program must know to touch a pool or a virtual disk.
public struct FeatureFlags: Equatable, Sendable, Codable {
  /// A program that does not know one of these must not use it at all.
  public var incompatible: UInt64
  /// A program that does not know one of these must not write.
  public var readOnlyCompatible: UInt64
  /// Anyone may ignore these.
  public var compatible: UInt64

  public init(incompatible: UInt64 = 0, readOnlyCompatible: UInt64 = 0, compatible: UInt64 = 0) {
    self.incompatible = incompatible
    self.readOnlyCompatible = readOnlyCompatible
    self.compatible = compatible
  }

  /// What this program knows of pools and of virtual disks: no feature has needed a flag so far.
  public static let known = FeatureFlags()

  public var unknownIncompatible: UInt64 { incompatible & ~FeatureFlags.known.incompatible }
  public var unknownReadOnlyCompatible: UInt64 { readOnlyCompatible & ~FeatureFlags.known.readOnlyCompatible }

  public var isReadable: Bool { unknownIncompatible == 0 }
  public var isWritable: Bool { isReadable && unknownReadOnlyCompatible == 0 }
}
