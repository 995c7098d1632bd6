import BlockDevice
import Pool
import Reactor

/// Where a stretch of bytes lies that is contiguous on one column of a row.
struct Piece {
  var row: Int
  var column: Int
  var offsetInSlab: UInt64
  /// In the row.
  var start: UInt64
  var byteCount: UInt64

  var end: UInt64 { start + byteCount }
}

/// What the resiliency asks of the virtual disk above.
public protocol CopyKeeper: AnyObject {
  /// A copy could not be read while another could: the range of the row wants to be repaired, when there is time.
  func copyFailedToRead(row: Int, from start: UInt64, to end: UInt64)
  /// The copies at these places have missed a write, and their disks stay in the pool. Returns once that is durable. Throws, and changes
  /// nothing, where one of them has something of the row alone: the write has failed then.
  func copiesMissed(row: Int, places: [Int]) async throws(BlockError)
  /// A change of the row finds no copy that the metadata calls whole. Returns once there is one more; throws where there cannot be.
  func makeCopiesCount(row: Int) async throws(BlockError)
}

/// The simple and the mirror resiliency: a virtual disk's rows striped over columns, with one to three copies of each column on different
/// disks. Simple is a mirror of one copy. Its address space is the virtual disk's own; every request lies within one row that is mapped,
/// which the VirtualDisk above sees to: it splits at rows, allocates, keeps overlapping requests apart and marks dirty regions.
///
/// A write goes to every copy whose disk is there, and is answered when all have it or the failed ones' eviction is durable. A read goes to
/// one copy that is in sync; when that fails, to the next.
public final class MirrorSpace: BlockDevice, @unchecked Sendable {  // reactor-confined
  let pool: StoragePool
  let rows: RowTable
  package let layout: StripeLayout
  let parallel: ParallelIO
  public weak var keeper: (any CopyKeeper)?
  private var flushCount: UInt64 = 0
  /// A disk went that held the last copy of something, with writes that were not flushed: no FLUSH may say that all is well.
  public var hasLostWrites = false

  /// `rows` says which slabs each row has: the VirtualDisk fills it, this layer reads it.
  public init(pool: StoragePool, rows: RowTable, layout: StripeLayout, label: String) {
    self.pool = pool
    self.rows = rows
    self.layout = layout
    parallel = pool.stripeIO
    super.init(reactor: pool.reactor, layerName: "Resiliency", label: label)
  }

  public override var geometry: BlockGeometry {
    var geometry = pool.commonGeometry
    geometry.byteCount = UInt64(rows.rowCount) * layout.rowByteCount
    geometry.optimalByteCount = Int(layout.interleave)
    return geometry
  }

  public override var lowerDevices: [BlockDevice] { pool.dataDevices }

  public override var remarks: [String] {
    let kind = rows.copies == 1 ? "simple" : "mirror of \(rows.copies) copies"
    return ["\(kind), \(layout.columns) column\(layout.columns == 1 ? "" : "s")"]
  }

  @inline(__always)
  func piece(_ row: Int, _ start: UInt64, _ byteCount: UInt64) -> Piece {
    let place = layout.locate(start)
    return Piece(
      row: row, column: place.column, offsetInSlab: place.offsetInSlab, start: start, byteCount: min(place.contiguousByteCount, byteCount))
  }

  // MARK: Reading

  public override func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let (row, start) = offset.quotientAndRemainder(dividingBy: layout.rowByteCount)
    let first = piece(Int(row), start, UInt64(slice.byteCount))
    if first.byteCount == UInt64(slice.byteCount) { return try await read(first, into: slice, request) }
    let split = parallel.begin()
    var done = 0
    while done < slice.byteCount {
      let next = piece(Int(row), start + UInt64(done), UInt64(slice.byteCount - done))
      let part = slice.part(from: done, byteCount: Int(next.byteCount))
      if let (place, device, address) = source(of: next, without: 0) {
        split.add(IOPart(.read, device, at: address, slice: part, tag: place))
        done += part.byteCount
      } else {
        parallel.end(split)
        throw BlockError(.ioFailed)
      }
    }
    await parallel.perform(split, request)
    var failed: [(Piece, Int, BufferSlice, BlockError)] = []
    for index in 0..<split.count {
      guard let part = split.parts[index].slice else { continue }
      let piece = piece(Int(row), start + UInt64(part.start - slice.start), UInt64(part.byteCount))
      let place = split.parts[index].tag
      if let error = split.error(ofPart: index) ?? doubt(split.parts[index].device, piece, without: bit(place)) {
        failed.append((piece, place, part, error))
      }
    }
    parallel.end(split)
    for (piece, place, part, error) in failed { try await readElsewhere(piece, not: place, error, into: part, request) }
  }

  @inline(__always)
  private func read(_ piece: Piece, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    guard let (place, device, address) = source(of: piece, without: 0) else { throw BlockError(.ioFailed) }
    do throws(BlockError) {
      try await device.read(at: address, into: slice, request)
      if let doubt = doubt(device, piece, without: bit(place)) { throw doubt }
    } catch {
      try await readElsewhere(piece, not: place, error, into: slice, request)
    }
  }

  /// What was read from a disk of which a flush has failed meanwhile may be older than what was answered to a writer (rule W). Nil where that
  /// is not so, or where no copy is left that could say it better.
  @inline(__always)
  func doubt(_ device: BlockDevice, _ piece: Piece, without failed: UInt8) -> BlockError? {
    rows.copies > 1 && device.hasFailedFlush && source(of: piece, without: failed) != nil ? BlockError(.ioFailed) : nil
  }

  /// A copy has failed: the others are asked in turn.
  private func readElsewhere(
    _ piece: Piece, not place: Int, _ error: BlockError, into slice: BufferSlice, _ request: IORequest
  ) async throws(BlockError) {
    var error = error
    var failed = bit(place)
    if error.saysDeviceIsGone { pool.noteGone(rows[piece.row, place].disk, error) }
    // The buffer of a request that was given up is the disk's until it answers: nothing else may be read into it.
    while error.cause != .stalled, let (next, device, address) = source(of: piece, without: failed) {
      failed |= bit(next)
      do throws(BlockError) {
        try await device.read(at: address, into: slice, request)
        if let doubt = doubt(device, piece, without: failed) { throw doubt }
        keeper?.copyFailedToRead(row: piece.row, from: piece.start, to: piece.end)
        return
      } catch let other { error = other }
    }
    throw error
  }

  @inline(__always)
  private func bit(_ place: Int) -> UInt8 { 1 << UInt8(place % rows.copies) }

  /// The copy that a piece is read from: always the same while all are well, so that the copies share the load by address and a disk's
  /// own read-ahead works. `failed` has a bit for each copy that is not asked. A disk of which a flush has failed comes last.
  @inline(__always)
  func source(of piece: Piece, without failed: UInt8) -> (place: Int, device: DataPartition, address: UInt64)? {
    let copies = rows.copies
    let first = piece.column * copies
    if copies == 1 {
      if failed != 0 { return nil }
      guard let (device, address) = pool.locate(rows[piece.row, first], piece.offsetInSlab) else { return nil }
      return (first, device, address)
    }
    let condition = rows.condition(piece.row)
    if let condition, pool.isReadOnly, condition.unsettled.overlaps(rows.regions.regions(piece.start, piece.end)) {
      return failed == 0 ? pinnedSource(of: piece, condition) : nil
    }
    let preferred = (piece.row &+ Int(truncatingIfNeeded: piece.offsetInSlab >> MirrorLimits.readShift)) % copies
    var doubtful: (Int, DataPartition, UInt64)?
    for step in 0..<copies {
      let place = first + (preferred + step) % copies
      if failed & bit(place) != 0 { continue }
      guard let (device, address) = pool.locate(rows[piece.row, place], piece.offsetInSlab) else { continue }
      if let condition, isStale(condition, place, piece.start, piece.end) { continue }
      if !device.hasFailedFlush { return (place, device, address) }
      if doubtful == nil { doubtful = (place, device, address) }
    }
    return doubtful
  }

  /// Where copies may differ and nobody may bring them together, only ever one of them is read, whatever becomes of it meanwhile: a read
  /// never changes its mind. It is the first of those that were there when the pool was opened.
  private func pinnedSource(of piece: Piece, _ condition: RowCondition) -> (place: Int, device: DataPartition, address: UInt64)? {
    for place in piece.column * rows.copies..<(piece.column + 1) * rows.copies {
      let slab = rows[piece.row, place]
      if isStale(condition, place, piece.start, piece.end) || !pool.disks.contains(where: { $0.number == slab.disk }) { continue }
      return pool.locate(slab, piece.offsetInSlab).map { (place, $0.device, $0.address) }
    }
    return nil
  }

  /// Whether the copy lacks something in that range of the row.
  func isStale(_ condition: RowCondition, _ place: Int, _ start: UInt64, _ end: UInt64) -> Bool {
    condition.stale[place]?.overlaps(rows.regions.regions(start, end)) ?? false
  }

  // MARK: Writing

  public override func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let (row, start) = offset.quotientAndRemainder(dividingBy: layout.rowByteCount)
    let first = piece(Int(row), start, UInt64(slice.byteCount))
    if rows.copies == 1 && first.byteCount == UInt64(slice.byteCount) && rows.areAllWhole {
      guard let (device, address) = pool.locate(rows[first.row, first.column], first.offsetInSlab) else { throw BlockError(.ioFailed) }
      return try await device.write(at: address, from: slice, request)
    }
    let split = parallel.begin()
    var done = 0
    var pieceCount = 0
    while done < slice.byteCount {
      let next = piece(Int(row), start + UInt64(done), UInt64(slice.byteCount - done))
      let part = slice.part(from: done, byteCount: Int(next.byteCount))
      guard addCopies(to: split, .write, next, slice: part, pieceNumber: pieceCount) else {
        parallel.end(split)
        try await makeCopiesCount(Int(row))
        return try await performWrite(at: offset, from: slice, request)
      }
      done += part.byteCount
      pieceCount += 1
    }
    try await perform(split, row: Int(row), start, start + UInt64(slice.byteCount), pieceCount, request)
  }

  public override func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await performByColumn(.discard, at: offset, byteCount: byteCount, request)
  }

  public override func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    try await performByColumn(.writeZeroes, at: offset, byteCount: byteCount, request)
  }

  /// A range of a row is one range of each column.
  private func performByColumn(
    _ operation: IOPart.Operation, at offset: UInt64, byteCount: UInt64, _ request: IORequest
  ) async throws(BlockError) {
    let (row, start) = offset.quotientAndRemainder(dividingBy: layout.rowByteCount)
    let split = parallel.begin()
    var pieceCount = 0
    for column in 0..<layout.columns {
      let from = layout.byteCount(of: column, before: start)
      let to = layout.byteCount(of: column, before: start + byteCount)
      if to == from { continue }
      let piece = Piece(row: Int(row), column: column, offsetInSlab: from, start: start, byteCount: to - from)
      guard addCopies(to: split, operation, piece, end: start + byteCount, slice: nil, pieceNumber: pieceCount) else {
        parallel.end(split)
        try await makeCopiesCount(Int(row))
        return try await performByColumn(operation, at: offset, byteCount: byteCount, request)
      }
      pieceCount += 1
    }
    try await perform(split, row: Int(row), start, start + byteCount, pieceCount, request)
  }

  /// One part for each copy that is there; those that are stale take the change as well. The tag says which piece and which place:
  /// `pieceNumber << 16 | place`. False when no copy in sync is there that counts: then a change would be remembered by nobody.
  @inline(__always)
  private func addCopies(
    to split: SplitRequest, _ operation: IOPart.Operation, _ piece: Piece, end: UInt64? = nil, slice: BufferSlice?, pieceNumber: Int
  ) -> Bool {
    let condition = rows.condition(piece.row)
    var hasCopyInSync = false
    var isDoubtful = false
    for place in piece.column * rows.copies..<(piece.column + 1) * rows.copies {
      guard let (device, address) = pool.locate(rows[piece.row, place], piece.offsetInSlab) else { continue }
      split.add(IOPart(operation, device, at: address, byteCount: piece.byteCount, slice: slice, tag: pieceNumber << 16 | place))
      if let condition, isStale(condition, place, piece.start, end ?? piece.end) { continue }
      if device.state == .returning || condition?.storedStale.contains(place) == true { isDoubtful = true } else { hasCopyInSync = true }
    }
    if isDoubtful && !hasCopyInSync {
      hasCopyInSync = (piece.column * rows.copies..<(piece.column + 1) * rows.copies).contains { place in
        if let condition, isStale(condition, place, piece.start, end ?? piece.end) { return false }
        return pool.locate(rows[piece.row, place], 0) != nil && counts(piece.row, place)
      }
    }
    if let move = condition?.move, move.place / rows.copies == piece.column,
      let (device, address) = pool.locate(move.slab, piece.offsetInSlab)
    {
      split.add(IOPart(operation, device, at: address, byteCount: piece.byteCount, slice: slice, tag: pieceNumber << 16 | moveTag))
    }
    return hasCopyInSync
  }

  /// Whether the metadata calls the copy whole: what it alone has is found again after a crash, and is not taken for older than what a disk
  /// has that left meanwhile.
  private func counts(_ row: Int, _ place: Int) -> Bool {
    if rows.condition(row)?.storedStale.contains(place) == true { return false }
    guard let disk = pool.usableDisk(rows[row, place].disk), disk.state == .returning else { return true }
    return rows.isFreshest(row, place, pool.disksThatLeft(noLaterThan: disk.number))
  }

  /// Whether of the copies that are there, one of each column counts.
  public func hasCountingCopies(_ row: Int) -> Bool {
    (0..<rows.columns).allSatisfy { column in
      let there = (column * rows.copies..<(column + 1) * rows.copies).filter { pool.usableDisk(rows[row, $0].disk) != nil }
      return there.isEmpty || there.contains { counts(row, $0) }
    }
  }

  private func makeCopiesCount(_ row: Int) async throws(BlockError) {
    guard rows.copies > 1, let keeper else { throw BlockError(.ioFailed) }
    try await keeper.makeCopiesCount(row: row)
  }

  /// In place of a place's number: the slab that a place is being moved to.
  private let moveTag = 0xffff

  /// Performs a split change of a row on all copies, and answers for it.
  private func perform(
    _ split: SplitRequest, row: Int, _ start: UInt64, _ end: UInt64, _ pieceCount: Int, _ request: IORequest
  ) async throws(BlockError) {
    await parallel.perform(split, request)
    guard split.hasError else {
      parallel.end(split)
      // What a disk that is just leaving did not get may be acknowledged only when its leaving is durable.
      if pool.isChangingMembership { try await pool.membershipSettled() }
      return
    }
    let condition = rows.condition(row)
    let outcome = WriteOutcome(split, pieceCount: pieceCount, moveTag: moveTag) { place in
      condition.map { isStale($0, place, start, end) } ?? false
    }
    parallel.end(split)
    try await answer(outcome, row: row, start, end)
  }

  private func answer(_ outcome: WriteOutcome, row: Int, _ start: UInt64, _ end: UInt64) async throws(BlockError) {
    if let error = outcome.errorOfAll {
      if rows.copies > 1 { noteUncertain(row, start, end) }
      throw error
    }
    var missed: [Int] = []
    for failure in outcome.failures {
      guard let disk = failure.device as? DataPartition else { continue }
      if PlantedBug.writeAcknowledgedBeforeEviction.isPlanted && failure.place != moveTag {
        reactor.spawn { _ = try? await self.pool.writeFailed(on: disk, failure.error) }
        continue
      }
      do throws(BlockError) { try await pool.writeFailed(on: disk, failure.error) } catch {
        if failure.place != moveTag { missed.append(failure.place) }
      }
      if failure.place == moveTag {
        rows.change(row) { $0.move = nil }
      }
    }
    if !missed.isEmpty {
      do throws(BlockError) { try await keeper?.copiesMissed(row: row, places: missed) } catch {
        noteUncertain(row, start, end)
        throw error
      }
    }
    if pool.isChangingMembership { try await pool.membershipSettled() }
    // The copy that was brought up to date from has gone: what was written is on the others alone.
    while outcome.goodPlaces.contains(where: { places in !places.contains { counts(row, $0) } }) {
      do throws(BlockError) { try await makeCopiesCount(row) } catch {
        noteUncertain(row, start, end)
        throw error
      }
    }
  }

  /// A change failed, and nobody knows which copy has how much of it. A slab that is being filled would not be brought together with the
  /// copies: that begins anew.
  private func noteUncertain(_ row: Int, _ start: UInt64, _ end: UInt64) {
    rows.change(row) { condition in
      condition.unsettled.insert(rows.regions.regions(start, end))
      condition.move = nil
    }
  }

  // MARK: Flushing

  /// Flushes every disk of the pool; a disk that was not written since its last good flush answers at once.
  public override func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    if hasLostWrites { throw BlockError(.ioFailed) }
    flushCount += 1
    let token = FlushToken(number: flushCount)
    try await pool.flushDisks(request)
    if hasLostWrites { throw BlockError(.ioFailed) }
    return token
  }
}

/// What became of the parts of a change that went to several copies.
private struct WriteOutcome {
  struct Failure {
    var device: BlockDevice
    var place: Int
    var error: BlockError
  }

  var failures: [Failure] = []
  /// By piece, who took it.
  var goodPlaces: [[Int]]
  /// Set when some piece is on no copy, or the failure is none of a single disk's.
  var errorOfAll: BlockError?

  /// `isStale`: the copy at that place does not count, whatever it answered.
  init(_ split: SplitRequest, pieceCount: Int, moveTag: Int, isStale: (Int) -> Bool) {
    goodPlaces = Array(repeating: [], count: pieceCount)
    for index in 0..<split.count {
      let part = split.parts[index]
      let place = part.tag & 0xffff
      guard let error = split.error(ofPart: index) else {
        if place != moveTag && !isStale(place) { goodPlaces[part.tag >> 16].append(place) }
        continue
      }
      // A full file system below is no failure of the disk, and the client can do something about it.
      if place != moveTag && (error.cause == .noSpace || error.cause == .shuttingDown) { errorOfAll = error }
      failures.append(Failure(device: part.device, place: place, error: error))
    }
    if goodPlaces.contains([]) && errorOfAll == nil { errorOfAll = failures.first { $0.place != moveTag }?.error ?? BlockError(.ioFailed) }
  }
}
