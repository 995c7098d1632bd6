import BlockDevice
import Reactor

/// A capacity disk and the nonce of its newest writable opening.
public struct CapacityDiskNonce: Equatable, Sendable {
  public var id: StorageUUID
  public var nonce: UInt64

  public init(id: StorageUUID, nonce: UInt64) {
    self.id = id
    self.nonce = nonce
  }
}

/// What a cache disk says of itself.
public struct CacheDiskSummary: Equatable, Sendable {
  /// One of the two places of a header.
  public struct Place: Equatable, Sendable {
    /// Bytes from the start of the cache disk's range.
    public var offset: UInt64
    /// Of the header that is there; nil where none is, or it cannot be read.
    public var generation: UInt64?
    public var isClean: Bool
  }

  public var places: [Place]
  public var pool: StorageUUID
  public var id: StorageUUID
  /// It was closed cleanly and is not in use: the rest of what it says counts.
  public var isClean: Bool
  public var pageByteCount: Int
  public var slotCount: UInt64
  /// Pages that it holds.
  public var pageCount: UInt64
  /// The capacity disks whose pages they are.
  public var disks: [CapacityDiskNonce]
}

extension CacheDisk {
  /// Takes a cache disk into use. When this returns its clean mark is durably gone: only then may the capacity disks be written to, and their
  /// nonces be changed.
  ///
  /// It is warm, disk by disk, when it was closed cleanly as this cache disk of this pool with pages of this size, and the capacity disk still has
  /// the nonce that was recorded then. Else it is cold, whatever lies on it. A damaged part of the index costs the pages it names.
  ///
  /// A disk that hangs is not waited for any less than it takes: who has a time limit abandons the device, and gets `.stalled`.
  /// - Parameters:
  ///   - range: of the device, in bytes; starts on a multiple of 4096. Nothing else of the device is touched.
  ///   - found: the capacity disks that will be bound to it, with the nonces they had when the pool was found, before this opening changed them.
  ///     Only those that were closed in order: a disk put back as it was in the middle of an opening has that opening's nonce, too.
  ///   - onLost: called once, on the reactor, if the cache disk is given up. The cache needs no help then; the device is the owner's to abandon.
  /// - Throws: `.noSpace` for a range without room for a page, `.noMemory` where the system, or `options`, has none for the directory, or what
  ///   the device failed with; the cache disk is not used then, and its clean mark may still be there: the nonces protect from what it names.
  public static func open(
    _ device: BlockDevice, range: Range<UInt64>, options: CacheDiskOptions, found: [CapacityDiskNonce],
    onLost: (@Sendable (CacheDiskLoss) -> Void)? = nil
  ) async throws(BlockError) -> CacheDisk {
    if options.memoryByteCount < CacheLimits.cacheDiskMemoryPerPage { throw BlockError(.noMemory) }
    let buffers = device.reactor.buffers
    guard let memory = buffers.reserve(byteCount: CacheLimits.cacheDiskPieceByteCount) else { throw BlockError(.noMemory) }
    defer { buffers.release(memory.buffer) }

    let newest = newest(try await headers(device, range.lowerBound, memory))
    guard let layout = options.layout(byteCount: UInt64(range.count), of: newest) else { throw BlockError(.noSpace) }
    let store = try CacheDisk(
      device, start: range.lowerBound, layout: layout, options: options, session: device.reactor.random(),
      generation: newest?.generation ?? 0)
    // Both headers: the old one would come to the fore again if the new one decayed.
    for _ in 0..<2 { try await store.writeHeader(isClean: false, memory) }
    if let newest, options.mayBeWarm(newest), newest.hasLayout(layout) {
      try await store.takeOver(newest, found, memory)
    }
    store.onLost = onLost
    return store
  }

  /// What the newer header says, of a cache disk that nobody uses; nil where there is none. Nothing is changed.
  public static func inspect(_ device: BlockDevice, range: Range<UInt64>) async throws(BlockError) -> CacheDiskSummary? {
    let buffers = device.reactor.buffers
    guard let memory = buffers.reserve(byteCount: CacheDiskFormat.headerByteCount) else { throw BlockError(.noMemory) }
    defer { buffers.release(memory.buffer) }
    let headers = try await headers(device, range.lowerBound, memory)
    guard let header = newest(headers) else { return nil }
    let places = headers.enumerated().map { place, header in
      CacheDiskSummary.Place(
        offset: CacheDiskHeader.offset(ofGeneration: UInt64(place)), generation: header?.generation, isClean: header?.isClean == true)
    }
    return CacheDiskSummary(
      places: places,
      pool: header.pool, id: header.cacheDisk, isClean: header.isClean, pageByteCount: header.pageByteCount, slotCount: header.slotCount,
      pageCount: header.pageCount, disks: header.disks.map { CapacityDiskNonce(id: $0.id, nonce: $0.nonce) })
  }

  /// In both places; nil where there is none, or one that cannot be read. Throws when neither can.
  private static func headers(
    _ device: BlockDevice, _ start: UInt64, _ memory: BufferSlice
  ) async throws(BlockError) -> [CacheDiskHeader?] {
    let slice = memory.part(from: 0, byteCount: CacheDiskFormat.headerByteCount)
    var headers: [CacheDiskHeader?] = [nil, nil]
    var failure: BlockError?
    for place in 0..<UInt32(2) {
      let offset = start + CacheDiskHeader.offset(ofGeneration: UInt64(place))
      do throws(BlockError) { try await device.read(at: offset, into: slice, request) } catch {
        if failure != nil || error.cause == .stalled { throw error }
        failure = error
        continue
      }
      headers[Int(place)] = CacheDiskHeader(slice.bytes, place: place)
    }
    return headers
  }

  private static func newest(_ headers: [CacheDiskHeader?]) -> CacheDiskHeader? {
    headers.compactMap { $0 }.filter { $0.generation > 0 }.max { $0.generation < $1.generation }
  }

  /// Writes the next header and makes it durable.
  private func writeHeader(
    isClean: Bool, disks: [CacheDiskHeader.Disk] = [], pageCount: UInt64 = 0, _ memory: BufferSlice
  ) async throws(BlockError) {
    generation += 1
    var header = CacheDiskHeader(
      pool: options.pool, cacheDisk: options.id, generation: generation, layout: layout, session: session, isClean: isClean)
    header.disks = disks
    header.pageCount = pageCount
    let slice = memory.part(from: 0, byteCount: CacheDiskFormat.headerByteCount)
    header.encode(slice.bytes)
    try await device.write(at: start + CacheDiskHeader.offset(ofGeneration: generation), from: slice, CacheDisk.request)
    try await device.flush(CacheDisk.request)
  }

  // MARK: Warm start

  private func takeOver(_ header: CacheDiskHeader, _ found: [CapacityDiskNonce], _ memory: BufferSlice) async throws(BlockError) {
    for disk in header.disks where isBelieved(disk, found) {
      while members.count <= Int(disk.number) { members.append(Member(id: StorageUUID(high: 0, low: 0))) }
      members[Int(disk.number)] = Member(id: disk.id, isWarm: true)
    }
    guard members.contains(where: \.isWarm) else { return }
    let blocksPerPiece = CacheLimits.cacheDiskPieceByteCount / CacheDiskFormat.indexBlockByteCount
    for first in stride(from: 0, to: layout.blockCount, by: blocksPerPiece) {
      let blocks = first..<min(layout.blockCount, first + blocksPerPiece)
      let slice = memory.part(from: 0, byteCount: blocks.count * CacheDiskFormat.indexBlockByteCount)
      do throws(BlockError) { try await device.read(at: offset(ofBlock: first), into: slice, CacheDisk.request) } catch {
        if error.cause == .stalled || error.saysDeviceIsGone { throw error }
        continue  // the pages that these blocks name are lost, and no more
      }
      for block in blocks {
        let part = slice.part(from: (block - first) * CacheDiskFormat.indexBlockByteCount, byteCount: CacheDiskFormat.indexBlockByteCount)
        takeOver(part.bytes, block, header.session)
        // Others have their turn: other pools are served meanwhile.
        if (block + 1) % CacheLimits.cacheDiskBlocksPerTurn == 0 { await reactor.sleep(milliseconds: 0) }
      }
    }
  }

  private func isBelieved(_ disk: CacheDiskHeader.Disk, _ found: [CapacityDiskNonce]) -> Bool {
    guard disk.number > 0, !members.contains(where: { $0.isWarm && $0.id == disk.id }) else { return false }
    if Int(disk.number) < members.count && members[Int(disk.number)].isWarm { return false }
    return found.contains {
      $0.id == disk.id && ($0.nonce == disk.nonce || PlantedBug.cacheOldGenerationAccepted.isPlanted)
    }
  }

  /// Pages named by an index block; none where it is damaged, or of another closing.
  private func takeOver(_ bytes: UnsafeMutableRawBufferPointer, _ block: Int, _ session: UInt64) {
    guard CacheDiskFormat.isWhole(bytes, magic: CacheDiskFormat.indexMagic, index: UInt32(block)),
      bytes.uuid(at: 16) == options.pool, bytes.uuid(at: 32) == options.id, (bytes.get(at: 48) as UInt64) == session
    else { return }
    for index in 0..<CacheDiskFormat.slotsPerBlock {
      let slot = block * CacheDiskFormat.slotsPerBlock + index
      let key = PageKey(value: bytes.get(at: CacheIndexEntry.offset(index)))
      guard slot < layout.slotCount, key.value != 0, Int(key.disk) < members.count, members[Int(key.disk)].isWarm,
        directory.restore(key.value, in: slot)
      else { continue }
      checksums[slot] = bytes.get(at: CacheIndexEntry.offset(index) + 8)
      members[Int(key.disk)].counters.warm &+= 1
    }
  }

  private func offset(ofBlock block: Int) -> UInt64 {
    start + CacheDiskFormat.indexOffset + UInt64(block) * UInt64(CacheDiskFormat.indexBlockByteCount)
  }

  // MARK: Closing

  /// Ends the use of the cache disk, and leaves it so that the next opening can go on with it. From this call on nothing is taken from it; the data
  /// of the capacity disks must not be changed afterwards by this opening of the pool. They are flushed here: the cache may hold what a
  /// capacity disk has only in its own cache, and must not know it better after a loss of power.
  /// - Parameters:
  ///   - nonces: of the capacity disks, as they are now and will be found. Disks that are not named are cold next time.
  ///   - deadline: how long reads and fills that hang are waited for. A cache disk or capacity disk that hangs later is the owner's to
  ///     abandon; of such a capacity disk nothing is kept.
  /// - Returns: whether the cache will be warm. Not where the cache disk was lost, failed or hung.
  @discardableResult
  public func close(nonces: [CapacityDiskNonce], deadline: Instant = .distantFuture) async -> Bool {
    guard state == .open else { return false }
    state = .closing
    let bound = bindings.map { (bus: $0.bus, number: $0.number, changes: $0.bus.dataChangeCount) }
    stop()
    guard await quiet(deadline), let memory = reactor.buffers.reserve(byteCount: CacheLimits.cacheDiskPieceByteCount) else {
      if state == .closing { state = .closed }
      return false
    }
    defer { reactor.buffers.release(memory.buffer) }
    let areFlushed = await flush(bound.map(\.bus))
    var disks: [CacheDiskHeader.Disk] = []
    for ((_, number, _), isFlushed) in zip(bound, areFlushed) where isFlushed && disks.count < CacheDiskFormat.diskEntryCount {
      let id = members[Int(number)].id
      guard let nonce = nonces.first(where: { $0.id == id })?.nonce else { continue }
      disks.append(CacheDiskHeader.Disk(id: id, nonce: nonce, number: number))
    }
    var isClean = false
    do throws(BlockError) {
      let pageCount = try await writeIndex(Set(disks.map(\.number)), memory)
      try await device.flush(CacheDisk.request)
      // One that was changed all the same is not believed.
      let changed = Set(bound.filter { $0.bus.dataChangeCount != $0.changes }.map(\.number))
      disks.removeAll { changed.contains($0.number) }
      if state == .closing {
        try await writeHeader(isClean: true, disks: disks, pageCount: pageCount, memory)
        isClean = true
      }
    } catch {}
    if state == .closing { state = .closed }
    return isClean
  }

  /// Gives the cache disk up, without a word to `onLost`: its owner knows.
  public func abandon() {
    onLost = nil
    lose(.gone(BlockError(.shuttingDown)))
  }

  /// Flushes capacity disks, all at the same time, so that those that hang are given up at the same time. Says which succeeded.
  private func flush(_ buses: [BusDevice]) async -> [Bool] {
    let flushes = buses.map { bus in Task(executorPreference: reactor) { await CacheDisk.isFlushed(bus) } }
    var results: [Bool] = []
    for flush in flushes { results.append(await flush.value) }
    return results
  }

  private static func isFlushed(_ bus: BusDevice) async -> Bool {
    do throws(BlockError) { try await bus.disk.flush(CacheDisk.request) } catch { return false }
    return !bus.disk.hasFailedFlush
  }

  /// Waits until nothing is in flight; false when that takes longer than until `deadline`, or the cache disk is lost.
  private func quiet(_ deadline: Instant) async -> Bool {
    if deadline != .distantFuture {
      reactor.spawn { [self] in
        await reactor.sleep(until: deadline)
        waitingForQuiet.wakeAll()
      }
    }
    while inFlight > 0 && state == .closing && reactor.now < deadline {
      await withUnsafeContinuation { waitingForQuiet.append($0) }
    }
    return inFlight == 0 && state == .closing
  }

  /// Writes all index blocks, with the pages of these disks; says how many pages there were.
  private func writeIndex(_ numbers: Set<UInt16>, _ memory: BufferSlice) async throws(BlockError) -> UInt64 {
    let isNamed = members.indices.map { numbers.contains(UInt16($0)) }
    var pageCount: UInt64 = 0
    let blocksPerPiece = CacheLimits.cacheDiskPieceByteCount / CacheDiskFormat.indexBlockByteCount
    for first in stride(from: 0, to: layout.blockCount, by: blocksPerPiece) {
      let blocks = first..<min(layout.blockCount, first + blocksPerPiece)
      let slice = memory.part(from: 0, byteCount: blocks.count * CacheDiskFormat.indexBlockByteCount)
      for block in blocks {
        let part = slice.part(from: (block - first) * CacheDiskFormat.indexBlockByteCount, byteCount: CacheDiskFormat.indexBlockByteCount)
        pageCount += encode(block, part.bytes, isNamed)
      }
      try await device.write(at: offset(ofBlock: first), from: slice, CacheDisk.request)
      if state != .closing { throw BlockError(.shuttingDown) }
    }
    return pageCount
  }

  private func encode(_ block: Int, _ bytes: UnsafeMutableRawBufferPointer, _ isNamed: [Bool]) -> UInt64 {
    bytes.fillWithZeros()
    var count: UInt64 = 0
    for index in 0..<CacheDiskFormat.slotsPerBlock {
      let slot = block * CacheDiskFormat.slotsPerBlock + index
      guard slot < layout.slotCount else { break }
      guard let key = directory.page(in: slot).map(PageKey.init(value:)), isNamed[Int(key.disk)] else { continue }
      bytes.set(key.value, at: CacheIndexEntry.offset(index))
      bytes.set(checksums[slot], at: CacheIndexEntry.offset(index) + 8)
      count += 1
    }
    CacheDiskFormat.seal(
      bytes, magic: CacheDiskFormat.indexMagic, pool: options.pool, disk: options.id, sequence: session, index: UInt32(block))
    return count
  }
}
