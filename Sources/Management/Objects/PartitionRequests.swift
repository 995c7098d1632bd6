/// How long a partition is to be: at most one of these is given; none is all of the largest free range, or all the room behind the partition that
/// is resized.
public struct PartitionSize: Codable, Sendable, Equatable {
  /// In bytes, rounded up to whole sectors.
  public var bytes: UInt64?
  /// 1 to 100, of the usable disk; 100 is the same as none.
  public var percentOfDisk: Int?
  /// 1 to 100, of the largest free range, or of the room behind.
  public var percentOfFree: Int?

  public init(bytes: UInt64? = nil, percentOfDisk: Int? = nil, percentOfFree: Int? = nil) {
    self.bytes = bytes
    self.percentOfDisk = percentOfDisk
    self.percentOfFree = percentOfFree
  }

  /// - Throws: `APIError` with code `badRequest` unless the text is a size, `N%` or `N%FREE`.
  public init(parsing text: String) throws(APIError) {
    let ofFree = text.uppercased().hasSuffix("%FREE")
    guard ofFree || text.hasSuffix("%") else {
      self.init(bytes: try ByteSize(parsing: text).byteCount)
      return
    }
    let digits = text.dropLast(ofFree ? 5 : 1)
    guard digits.utf8.count <= 3, digits.utf8.allSatisfy(ByteSize.isDigit), let percent = Int(digits), (1...100).contains(percent) else {
      throw APIError(.badRequest, "\"\(text)\" is not a share", remedy: "Give 1% to 100%, or 1%FREE to 100%FREE")
    }
    self.init(percentOfDisk: ofFree ? nil : percent, percentOfFree: ofFree ? percent : nil)
  }
}

/// Asks for a new, empty GPT.
public struct InitPartitionTable: Codable, Sendable, Equatable {
  /// What is on the disk may be lost.
  public var acceptLoss: Bool
  /// Clients that have partitions open are sent away.
  public var force: Bool

  public init(acceptLoss: Bool = false, force: Bool = false) {
    self.acceptLoss = acceptLoss
    self.force = force
  }
}

/// Asks for a new partition. What is nil is chosen by the server.
public struct CreatePartition: Codable, Sendable, Equatable {
  public var size: PartitionSize
  /// GUID, name, alias or sgdisk code; nil means linux.
  public var type: String?
  /// At most 36 UTF-16 units.
  public var label: String?
  /// Names, or numbers of bits.
  public var attributes: [String]?
  /// nil means the lowest that is free.
  public var number: Int?
  /// Of the start, in bytes; a multiple of the sector size.
  public var alignmentBytes: UInt64?

  public init(
    size: PartitionSize = PartitionSize(), type: String? = nil, label: String? = nil, attributes: [String]? = nil, number: Int? = nil,
    alignmentBytes: UInt64? = nil
  ) {
    self.size = size
    self.type = type
    self.label = label
    self.attributes = attributes
    self.number = number
    self.alignmentBytes = alignmentBytes
  }
}

/// Asks to remove partitions, all or none.
public struct DeletePartitions: Codable, Sendable, Equatable {
  /// Numbers, labels or unique GUIDs.
  public var partitions: [String]
  /// What is on them may be lost.
  public var acceptLoss: Bool
  /// Clients that have them open are sent away.
  public var force: Bool

  public init(partitions: [String], acceptLoss: Bool = false, force: Bool = false) {
    self.partitions = partitions
    self.acceptLoss = acceptLoss
    self.force = force
  }
}

/// Asks for another length of a partition.
public struct ResizePartition: Codable, Sendable, Equatable {
  /// Number, label or unique GUID.
  public var partition: String
  public var size: PartitionSize
  /// What lies behind the new end may be lost.
  public var acceptLoss: Bool
  /// Clients that have it open are sent away.
  public var force: Bool

  public init(partition: String, size: PartitionSize = PartitionSize(), acceptLoss: Bool = false, force: Bool = false) {
    self.partition = partition
    self.size = size
    self.acceptLoss = acceptLoss
    self.force = force
  }
}

/// Asks for other properties of a partition; what is nil stays.
public struct SetPartition: Codable, Sendable, Equatable {
  /// Number, label or unique GUID.
  public var partition: String
  public var type: String?
  public var label: String?
  /// Attributes to set and to clear: names, or numbers of bits.
  public var set: [String]?
  public var clear: [String]?

  public init(partition: String, type: String? = nil, label: String? = nil, set: [String]? = nil, clear: [String]? = nil) {
    self.partition = partition
    self.type = type
    self.label = label
    self.set = set
    self.clear = clear
  }
}

/// Asks to repair a partition table, or for the plan.
public struct RepairPartitionTable: Codable, Sendable, Equatable {
  /// The copy of the GPT that is believed: `primary` or `backup`; nil means the one that counts, unless that is a backup under something that is no
  /// table any more.
  public var source: String?
  /// Write it; else only the plan is made.
  public var apply: Bool
  /// Clients that have partitions open which the repaired table does not have are sent away, and a file system that the whole disk holds may be
  /// destroyed.
  public var force: Bool

  public init(source: String? = nil, apply: Bool = false, force: Bool = false) {
    self.source = source
    self.apply = apply
    self.force = force
  }
}
