/// One of the two slots of a witness, 4096 bytes: the membership epoch that the pool was at, kept apart from its disks. The header's
/// sequence counts the writings; its lowest bit is the slot. The header's disk is zero, its index the slot.
///
///     64  reserved
///    128  membership epoch, as in a superblock
struct WitnessSlot: Equatable {
  var pool: PoolID
  var sequence: UInt64
  var epoch: MembershipEpoch

  static let byteCount = FormatLimits.witnessSlotByteCount
  static let count = 2
  private static let epochOffset = 128

  var place: Int { Int(sequence & 1) }
  var offset: UInt64 { WitnessSlot.offset(of: place) }
  static func offset(of place: Int) -> UInt64 { UInt64(place * byteCount) }

  func encode(_ bytes: UnsafeMutableRawBufferPointer) {
    bytes.zero()
    epoch.encode(bytes, at: WitnessSlot.epochOffset)
    StructureHeader(
      magic: .witness, pool: pool, disk: .none, sequence: sequence, coveredByteCount: WitnessSlot.byteCount, index: UInt32(place)
    ).seal(bytes)
  }

  init(pool: PoolID, sequence: UInt64, epoch: MembershipEpoch) {
    self.pool = pool
    self.sequence = sequence
    self.epoch = epoch
  }

  /// From 4096 bytes that may be anything.
  init(_ bytes: UnsafeRawBufferPointer, place: Int) throws(FormatError) {
    let header = try StructureHeader(bytes, expecting: .witness, byteCounts: WitnessSlot.byteCount...WitnessSlot.byteCount)
    guard header.index == UInt32(place), Int(header.sequence & 1) == place else { throw .misplaced }
    guard !header.pool.isNone, header.sequence > 0, header.sequence < 1 << 62 else { throw .invalid("sequence of the witness") }
    pool = header.pool
    sequence = header.sequence
    epoch = try MembershipEpoch(bytes, at: WitnessSlot.epochOffset)
    guard epoch.number < 1 << 62, !epoch.id.isNone else { throw .invalid("epoch of the witness") }
  }
}
