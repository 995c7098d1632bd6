import BlockDevice
import Pool
import Reactor

/// Where a copy is copied to.
public enum CopyTargets: Equatable, Sendable {
  /// Every other copy whose disk is there, stale or not.
  case otherCopies
  /// Copies in sync that cannot be read there.
  case unreadableCopies
  /// The slab that a place is being moved to.
  case move
}

extension MirrorSpace {
  /// Copies a range of a row, of whole blocks and locked by the caller, from a copy in sync. Returns the places that failed to take it and
  /// whose disks stay in the pool; the metadata calls them stale by then. Throws when no copy in sync can be read.
  public func copy(row: Int, from start: UInt64, to end: UInt64, _ targets: CopyTargets) async throws(BlockError) -> Set<Int> {
    // No more is written again of what a disk cannot read than has to be.
    let wanted = targets == .unreadableCopies ? 0 : min(end - start, pool.jobs.pacer.pieceByteCount)
    var window = await pool.bounceBuffers.acquire(forCopying: wanted)
    defer { pool.bounceBuffers.release(window) }
    var limit = UInt64(window.byteCount)
    var missed: Set<Int> = []
    var position = start
    var tries = 0
    while position < end {
      try pool.bounceBuffers.renew(&window)
      let piece = piece(row, position, min(end - position, limit))
      do throws(BlockError) {
        missed.formUnion(try await copy(piece, window.part(from: 0, byteCount: Int(piece.byteCount)), targets))
        position = piece.end
      } catch {
        if error.cause == .stalled {
          // The disk that was read from was given up, and keeps the buffer: another copy serves, into a fresh one.
          tries += 1
          guard tries < rows.copies else { throw error }
        } else {
          // Perhaps no copy has all of a large piece, but each part of it is on one: stale and bad places may lie side by side.
          guard limit > smallest else { throw error }
          limit = smallest
        }
      }
    }
    return missed
  }

  /// No larger than a region, so that what one copy lacks of a piece does not keep it from serving the rest.
  private var smallest: UInt64 { UInt64(PoolLimits.bounceBufferByteCount) }

  private func copy(_ piece: Piece, _ window: BufferSlice, _ targets: CopyTargets) async throws(BlockError) -> Set<Int> {
    let request = IORequest(ioClass: .resync, cacheHint: .bypass, ownerTerm: pool.ownerTerm)
    if targets == .move {
      guard let move = rows.condition(piece.row)?.move, move.place / rows.copies == piece.column,
        let (device, address) = pool.locate(move.slab, piece.offsetInSlab)
      else { return [] }
      _ = try await readSource(of: piece, window, request)
      do throws(BlockError) { try await device.write(at: address, from: window, request) } catch {
        rows.change(piece.row) { $0.move = nil }
        if error.cause != .noSpace { _ = try? await pool.writeFailed(on: device, error) }
      }
      return []
    }
    let (source, unreadable) = try await readSource(of: piece, window, request)
    let places = (piece.column * rows.copies..<(piece.column + 1) * rows.copies).filter { place in
      place != source && (targets != .unreadableCopies || unreadable.contains(place))
    }
    var missed = try await write(piece, to: places, window, request)
    if targets == .unreadableCopies { missed.formUnion(try await readBack(piece, unreadable.subtracting(missed), window, request)) }
    if !missed.isEmpty { try await keeper?.copiesMissed(row: piece.row, places: missed.sorted()) }
    return missed
  }

  /// Writes the piece to several copies at the same time. Returns the places that failed and whose disks have to stay.
  private func write(
    _ piece: Piece, to places: [Int], _ window: BufferSlice, _ request: IORequest
  ) async throws(BlockError) -> Set<Int> {
    let split = parallel.begin()
    for place in places {
      guard let (device, address) = pool.locate(rows[piece.row, place], piece.offsetInSlab) else { continue }
      split.add(IOPart(.write, device, at: address, byteCount: piece.byteCount, slice: window, tag: place))
    }
    await parallel.perform(split, request)
    var failures: [(place: Int, device: BlockDevice, error: BlockError)] = []
    for index in 0..<split.count {
      if let error = split.error(ofPart: index) { failures.append((split.parts[index].tag, split.parts[index].device, error)) }
    }
    parallel.end(split)
    var missed: Set<Int> = []
    for failure in failures {
      guard let disk = failure.device as? DataPartition else { continue }
      do throws(BlockError) { try await failed(disk, failure.error) } catch { missed.insert(failure.place) }
    }
    return missed
  }

  /// After they were written again. A disk that takes writes and cannot read them costs every reader its retries: it is evicted like one that
  /// takes none. Returns the places whose disks have to stay.
  private func readBack(
    _ piece: Piece, _ places: Set<Int>, _ window: BufferSlice, _ request: IORequest
  ) async throws(BlockError) -> Set<Int> {
    var missed: Set<Int> = []
    for place in places.sorted() {
      guard let (device, address) = pool.locate(rows[piece.row, place], piece.offsetInSlab) else { continue }
      do throws(BlockError) { try await device.read(at: address, into: window, request) } catch {
        // The window is the disk's until it answers.
        if error.cause == .stalled { throw error }
        do throws(BlockError) { try await pool.rewriteFailed(on: device, error) } catch { missed.insert(place) }
      }
    }
    return missed
  }

  private func failed(_ device: DataPartition, _ error: BlockError) async throws(BlockError) {
    if error.cause == .noSpace { throw error }
    try await pool.writeFailed(on: device, error)
  }

  /// Reads the piece from the first copy in sync that can, and says which copies in sync cannot.
  private func readSource(
    of piece: Piece, _ window: BufferSlice, _ request: IORequest
  ) async throws(BlockError) -> (source: Int, unreadable: Set<Int>) {
    var failed: UInt8 = 0
    var unreadable: Set<Int> = []
    var failure = BlockError(.ioFailed)
    var found: Int?
    // The copy that a reader of this piece is sent to comes first: when it was unreadable then, it is met here again.
    while let (place, device, address) = source(of: piece, without: failed) {
      failed |= 1 << UInt8(place % rows.copies)
      do throws(BlockError) {
        try await device.read(at: address, into: window, request)
        if let doubt = doubt(device, piece, without: failed) {
          failure = doubt
          continue
        }
        found = place
        break
      } catch {
        if error.cause == .stalled { throw error }
        failure = error
        unreadable.insert(place)
      }
    }
    guard let found else { throw failure }
    return (found, unreadable)
  }
}
