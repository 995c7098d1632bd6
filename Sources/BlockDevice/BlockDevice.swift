import Reactor

/// The one interface at every border of the stack. A layer is a BlockDevice over one or more BlockDevices, so that any layer can be put
/// in, taken out, simulated or tested alone.
///
/// Callers use `read`, `write`, `flush`, `discard`, `writeZeroes`, `blockStatus`: these check the bounds and count, for every layer in
/// the same way. A layer overrides the `perform...` functions, which are only ever called within bounds.
///
/// All calls are made on the device's reactor. A buffer slice belongs to the caller and stays unchanged until the call returns.
///
/// A call that throws `.stalled` leaves its buffer to the disk, which may read or change it at any time: nobody uses those bytes again. A
/// layer that has another copy to read cannot do so into the same slice; it passes the error on to who made the buffer, and that one takes
/// a fresh one. Where parts of a request failed differently, `.stalled` goes first. A write can also succeed without the disk that hangs:
/// `BufferPool.exclusive` is for who wants to write from the same buffer again.
open class BlockDevice: @unchecked Sendable {  // reactor-confined
  public let reactor: any Reactor
  /// The layer's name, as in the picture of the stack: "VirtualDisk".
  public let layerName: String
  /// Which one of its kind: a path, a POOL/VDISK.
  public let label: String
  public let statistics: LayerStatistics

  public init(reactor: any Reactor, layerName: String, label: String) {
    self.reactor = reactor
    self.layerName = layerName
    self.label = label
    statistics = LayerStatistics(clock: reactor.clock)
  }

  // MARK: What a layer says of itself

  open var geometry: BlockGeometry { BlockGeometry(byteCount: 0, logicalSector: 512, physicalSector: 512) }

  /// The devices right below, for who walks the stack.
  open var lowerDevices: [BlockDevice] { [] }

  /// Facts worth a word when the stack is shown ("direct I/O", "degraded").
  open var remarks: [String] { [] }

  // MARK: What a layer does

  /// Fills `slice` with what is at `offset`.
  open func performRead(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    throw BlockError(.unsupported)
  }

  /// The bytes at `offset` where a layer has them in memory already; nil when it has not, or when a read would have to wait for anything.
  open func performReadInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? { nil }

  open func performWrite(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    throw BlockError(.unsupported)
  }

  /// Makes durable every write that was answered before this call.
  open func performFlush(_ request: IORequest) async throws(BlockError) -> FlushToken { throw BlockError(.unsupported) }

  /// Gives the space back where that can be done; what is read there later is up to the layer (a virtual disk reads zeros).
  open func performDiscard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    throw BlockError(.unsupported)
  }

  open func performWriteZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    throw BlockError(.unsupported)
  }

  /// Appends the extents of the range to `extents`, at most `limit` of them; they may end before the range does, never after it. `byRow`: an
  /// extent ends where its slab row does, and names it; else it goes on as long as nothing but the row changes.
  open func performBlockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    extents.append(BlockExtent(byteCount: byteCount, isAllocated: true, isZero: false))
  }

  /// Whether what begins at `offset` is known to read as zeros, and how far that holds; from memory, without waiting for anything.
  open func performZeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun { ZeroRun(byteCount: byteCount, isZero: false) }

  /// Bytes that the read cache below can hold; 0 where there is none.
  open var readCacheByteCount: UInt64 { lowerDevices.reduce(0) { max($0, $1.readCacheByteCount) } }

  // MARK: What the pool asks of a disk. Devices above the pool leave these as they are.

  /// How long the oldest request has been with the disk, in nanoseconds; 0 when there is none. For once a second, not for every request.
  open func oldestRequestAge(now: Instant) -> UInt64 { 0 }

  /// Gives up a disk that does not answer, for good: everyone who waits for it gets `.stalled` at once, and so does who asks later. What was
  /// sent may still happen, also minutes later: see `hasDrained`.
  open func abandon() {}

  /// True when, after `abandon`, no request that was sent before can happen any more.
  open var hasDrained: Bool { true }

  /// Looks whether the disk is still what it was opened as: a file not truncated or deleted, a device not gone. One that is not fails this
  /// and every later flush. Cheap enough for once a second.
  open func checkIntegrity() async throws(BlockError) {}

  /// A flush of the disk has failed since it was opened: it may have forgotten what it could not write, and reads of that hand out what was
  /// there before. Who has another copy reads that one.
  open var hasFailedFlush: Bool { false }

  /// What ails the disk, and its last error, in words; nil when all is well.
  open var ailment: String? { nil }

  // MARK: What callers call

  public final func read(at offset: UInt64, into slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let began = statistics.begin(.read)
    do throws(BlockError) {
      try checkBounds(offset, UInt64(slice.byteCount))
      try await performRead(at: offset, into: slice, request)
    } catch {
      statistics.fail(.read)
      throw error
    }
    statistics.end(.read, began: began, byteCount: UInt64(slice.byteCount))
  }

  /// A read that is answered at once, without a copy, from a page of the read cache. The caller holds the slice's buffer then: it changes
  /// nothing in it, and releases it. nil: `read` is the way. Never suspends.
  public final func readInPlace(at offset: UInt64, byteCount: Int, _ request: IORequest) -> BufferSlice? {
    let (end, overflow) = offset.addingReportingOverflow(UInt64(byteCount))
    if overflow || end > geometry.byteCount { return nil }
    guard let slice = performReadInPlace(at: offset, byteCount: byteCount, request) else { return nil }
    statistics.countAtOnce(.read, byteCount: UInt64(byteCount))
    return slice
  }

  /// The stretch at `offset` that reads as zeros by the map alone, or the one that does not: the first is read without the disk, and without a
  /// buffer. At most `byteCount` long, and at least one byte. Zeros count as a read that took no time. Never suspends.
  public final func zeroRun(at offset: UInt64, byteCount: UInt64) -> ZeroRun {
    let (end, overflow) = offset.addingReportingOverflow(byteCount)
    if overflow || end > geometry.byteCount || byteCount == 0 { return ZeroRun(byteCount: byteCount, isZero: false) }
    let run = performZeroRun(at: offset, byteCount: byteCount)
    if run.isZero { statistics.countAtOnce(.read, byteCount: run.byteCount) }
    return run
  }

  public final func write(at offset: UInt64, from slice: BufferSlice, _ request: IORequest) async throws(BlockError) {
    let began = statistics.begin(.write)
    do throws(BlockError) {
      try checkBounds(offset, UInt64(slice.byteCount))
      try await performWrite(at: offset, from: slice, request)
    } catch {
      statistics.fail(.write)
      throw error
    }
    statistics.end(.write, began: began, byteCount: UInt64(slice.byteCount))
  }

  @discardableResult
  public final func flush(_ request: IORequest) async throws(BlockError) -> FlushToken {
    let began = statistics.begin(.flush)
    let token: FlushToken
    do throws(BlockError) { token = try await performFlush(request) } catch {
      statistics.fail(.flush)
      throw error
    }
    statistics.end(.flush, began: began, byteCount: 0)
    return token
  }

  public final func discard(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let began = statistics.begin(.discard)
    do throws(BlockError) {
      try checkBounds(offset, byteCount)
      try await performDiscard(at: offset, byteCount: byteCount, request)
    } catch {
      statistics.fail(.discard)
      throw error
    }
    statistics.end(.discard, began: began, byteCount: byteCount)
  }

  public final func writeZeroes(at offset: UInt64, byteCount: UInt64, _ request: IORequest) async throws(BlockError) {
    let began = statistics.begin(.writeZeroes)
    do throws(BlockError) {
      try checkBounds(offset, byteCount)
      try await performWriteZeroes(at: offset, byteCount: byteCount, request)
    } catch {
      statistics.fail(.writeZeroes)
      throw error
    }
    statistics.end(.writeZeroes, began: began, byteCount: byteCount)
  }

  public final func blockStatus(
    at offset: UInt64, byteCount: UInt64, limit: Int, byRow: Bool = false, into extents: inout [BlockExtent], _ request: IORequest
  ) async throws(BlockError) {
    let began = statistics.begin(.blockStatus)
    do throws(BlockError) {
      try checkBounds(offset, byteCount)
      try await performBlockStatus(at: offset, byteCount: byteCount, limit: limit, byRow: byRow, into: &extents, request)
    } catch {
      statistics.fail(.blockStatus)
      throw error
    }
    statistics.end(.blockStatus, began: began, byteCount: 0)
  }

  private final func checkBounds(_ offset: UInt64, _ byteCount: UInt64) throws(BlockError) {
    let (end, overflow) = offset.addingReportingOverflow(byteCount)
    if overflow || end > geometry.byteCount { throw BlockError(.outOfRange) }
  }
}
