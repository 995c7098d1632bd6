/// A partition of a GPT.
public struct GPTPartition: Hashable, Sendable {
  /// Place in the entry array, from 1. Tools and kernels name the partition by it.
  public var number: Int
  /// What the partition is for.
  public var type: GUID
  /// This partition alone, on any disk.
  public var uniqueGUID: GUID
  /// First sector.
  public var firstLBA: LBA
  /// Last sector, inclusive.
  public var lastLBA: LBA
  /// Attribute bits.
  public var attributes: GPTAttributes
  /// The name as stored: UTF-16 units up to the first NUL. Other tools may have left unpaired surrogates, so the units are kept.
  public var nameUnits: [UInt16]

  public init(
    number: Int, type: GUID, uniqueGUID: GUID, firstLBA: LBA, lastLBA: LBA, attributes: GPTAttributes = [], name: String = ""
  ) {
    self.number = number
    self.type = type
    self.uniqueGUID = uniqueGUID
    self.firstLBA = firstLBA
    self.lastLBA = lastLBA
    self.attributes = attributes
    nameUnits = Array(name.utf16)
  }

  /// The name as text; unpaired surrogates read as U+FFFD. At most 36 UTF-16 units can be stored.
  public var name: String {
    get { String(decoding: nameUnits, as: UTF16.self) }
    set { nameUnits = Array(newValue.utf16) }
  }

  /// Length in sectors; 0 when the last sector lies before the first, or when the length does not fit 64 bits.
  public var sectorCount: UInt64 {
    guard lastLBA >= firstLBA else { return 0 }
    return (lastLBA.value - firstLBA.value) &+ 1
  }

  /// Bytes of the partition on a disk of this sector size; nil when the entry is out of all bounds.
  public func byteRange(sectorSize: SectorSize) -> (offsetBytes: UInt64, byteCount: UInt64)? {
    let (offset, offsetOverflow) = firstLBA.value.multipliedReportingOverflow(by: sectorSize.wide)
    let (length, lengthOverflow) = sectorCount.multipliedReportingOverflow(by: sectorSize.wide)
    guard !offsetOverflow, !lengthOverflow, length > 0, !offset.addingReportingOverflow(length).overflow else { return nil }
    return (offset, length)
  }

  /// The longest start of `name` that fits a partition entry and does not split a surrogate pair.
  public static func nameCutToFit(_ name: String) -> String {
    var units = Array(name.utf16.prefix(PartitionLimits.nameUnitCount))
    if units.count < name.utf16.count, let last = units.last, UTF16.isLeadSurrogate(last) { units.removeLast() }
    return String(decoding: units, as: UTF16.self)
  }

  /// Reads an entry of at least 128 bytes; nil when it is unused.
  init?(number: Int, entry: ArraySlice<UInt8>) {
    // The common case of an unused entry is told by two loads, without building anything.
    guard entry.uint64(at: 0) != 0 || entry.uint64(at: 8) != 0 else { return nil }
    self.number = number
    type = GUID(diskBytes: entry.part(0, 16))
    uniqueGUID = GUID(diskBytes: entry.part(16, 16))
    firstLBA = LBA(entry.uint64(at: 32))
    lastLBA = LBA(entry.uint64(at: 40))
    attributes = GPTAttributes(rawValue: entry.uint64(at: 48))
    nameUnits = []
    for index in 0..<PartitionLimits.nameUnitCount {
      let unit = entry.uint16(at: 56 + 2 * index)
      if unit == 0 { break }
      nameUnits.append(unit)
    }
  }

  /// Writes the entry into a zeroed array at `offset`. The name has been validated to fit.
  func encode(into array: inout [UInt8], at offset: Int) {
    array.store(type.diskBytes, at: offset)
    array.store(uniqueGUID.diskBytes, at: offset + 16)
    array.store(firstLBA.value, at: offset + 32)
    array.store(lastLBA.value, at: offset + 40)
    array.store(attributes.rawValue, at: offset + 48)
    for (index, unit) in nameUnits.prefix(PartitionLimits.nameUnitCount).enumerated() {
      array.store(unit, at: offset + 56 + 2 * index)
    }
  }
}
