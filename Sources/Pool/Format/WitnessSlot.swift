/// What a witness remembers of a pool.
public struct WitnessedState: Equatable, Sendable {
  /// The membership that the pool was at.
  public var epoch: MembershipEpoch
  /// The last journal entry that every voter was known to have: a voter that ends before it is from the past. 0 where none is noted, as
  /// programs did from before there was such a note.
  public var committed: UInt64

  public init(epoch: MembershipEpoch, committed: UInt64) {
    self.epoch = epoch
    self.committed = committed
  }
}

/// One of the two slots of a witness, 4096 bytes: where the pool was, kept apart from its disks. The header's sequence counts the writings;
/// its lowest bit is the slot. The header's disk is zero, its index the slot.
///
///     64  last journal entry that every voter had, UInt64
///     72  reserved
///    128  membership epoch, as in a superblock
struct WitnessSlot: Equatable {
  var pool: PoolID
  var sequence: UInt64
  var state: WitnessedState

  static let byteCount = FormatLimits.witnessSlotByteCount
  static let count = 2
  private static let committedOffset = 64
  private static let epochOffset = 128

  var place: Int { Int(sequence & 1) }
  var offset: UInt64 { WitnessSlot.offset(of: place) }
  static func offset(of place: Int) -> UInt64 { UInt64(place * byteCount) }

  func encode(_ bytes: UnsafeMutableRawBufferPointer) {
    bytes.zero()
    bytes.setLittle(state.committed, at: WitnessSlot.committedOffset)
    state.epoch.encode(bytes, at: WitnessSlot.epochOffset)
    StructureHeader(
      magic: .witness, pool: pool, disk: .none, sequence: sequence, coveredByteCount: WitnessSlot.byteCount, index: UInt32(place)
    ).seal(bytes)
  }

  init(pool: PoolID, sequence: UInt64, state: WitnessedState) {
    self.pool = pool
    self.sequence = sequence
    self.state = state
  }

  /// From 4096 bytes that may be anything.
  init(_ bytes: UnsafeRawBufferPointer, place: Int) throws(FormatError) {
    let header = try StructureHeader(bytes, expecting: .witness, byteCounts: WitnessSlot.byteCount...WitnessSlot.byteCount)
    guard header.index == UInt32(place), Int(header.sequence & 1) == place else { throw .misplaced }
    guard !header.pool.isNone, header.sequence > 0, header.sequence < 1 << 62 else { throw .invalid("sequence of the witness") }
    pool = header.pool
    sequence = header.sequence
    state = WitnessedState(
      epoch: try MembershipEpoch(bytes, at: WitnessSlot.epochOffset), committed: bytes.little(UInt64.self, at: WitnessSlot.committedOffset))
    guard state.epoch.number < 1 << 62, !state.epoch.id.isNone else { throw .invalid("epoch of the witness") }
    guard state.committed < 1 << 62 else { throw .invalid("entry of the witness") }
  }
}
