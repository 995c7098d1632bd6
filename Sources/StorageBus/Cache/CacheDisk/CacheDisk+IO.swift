import BlockDevice
import Reactor

// Reads and fills of the cache disk, and what is done about one that is slow or fails.
extension CacheDisk {
  /// The cache disk's own memory pages would be a cache of a cache.
  static let request = IORequest(cacheHint: .bypass)

  // MARK: Reading

  /// Somebody may be helped from the cache disk now.
  @inline(__always)
  var mayRead: Bool { state == .open && overdueCount == 0 }

  /// Whether there is a reader for one more page of this virtual disk.
  func hasReader(for virtualDisk: VirtualDiskHandle) -> Bool {
    readsInFlight(of: virtualDisk) < CacheLimits.cacheDiskReadsPerVirtualDisk
      && (!idleReaders.isEmpty || readers.count < CacheLimits.cacheDiskReads)
  }

  private func readsInFlight(of virtualDisk: VirtualDiskHandle) -> Int {
    Int(virtualDisk.number) < readsInFlight.count ? readsInFlight[Int(virtualDisk.number)] : 0
  }

  /// Returns when there may be a reader that is idle, or none is needed any more.
  func waitForReader() async { await withUnsafeContinuation { waitingForReader.append($0) } }

  /// Begins to read a page; nil where it is not cached, or cannot be read now.
  func beginRead(_ key: PageKey, for virtualDisk: VirtualDiskHandle) -> PageReader? {
    guard mayRead, isCached(key), hasReader(for: virtualDisk), let reader = idleReader(), let slot = directory.read(key.value) else {
      return nil
    }
    directory.pin(slot)
    reader.isLeft = false
    if Int(virtualDisk.number) >= readsInFlight.count {
      readsInFlight += repeatElement(0, count: Int(virtualDisk.number) + 1 - readsInFlight.count)
    }
    readsInFlight[Int(virtualDisk.number)] += 1
    reader.start(key, slot, for: virtualDisk)
    return reader
  }

  private func idleReader() -> PageReader? {
    if let reader = idleReaders.popLast() { return reader }
    guard readers.count < CacheLimits.cacheDiskReads, let reader = PageReader(self) else { return nil }
    readers.append(reader)
    return reader
  }

  /// Waits for a read, as long as is worth it. True: the buffer holds the page, and the caller gives the reader back when it has copied it.
  /// False: the reader is nobody's business any more.
  func finish(_ reader: PageReader) async -> Bool {
    if reader.isRunning {
      let hasEnded = mayRead ? await withUnsafeContinuation { reader.client = $0 } : false
      guard hasEnded else {
        count(reader) { $0.timeouts &+= 1 }
        leave(reader)
        return false
      }
    }
    if reader.isGood { return true }
    giveBack(reader)
    return false
  }

  /// The client does not want it any more.
  func leave(_ reader: PageReader) {
    if reader.isRunning { reader.isLeft = true } else { giveBack(reader) }
  }

  func giveBack(_ reader: PageReader) {
    readsInFlight[Int(reader.request.virtualDisk.number)] -= 1
    if state == .open && reader.renewBuffer() {
      idleReaders.append(reader)
    } else {
      readers.removeAll { $0 === reader }
      reader.end()
    }
    // All look again: one that wants no reader any more would not pass it on.
    waitingForReader.wakeAll()
  }

  /// A read has ended: whether the page is what was written, and still the page that was asked for.
  func judge(_ reader: PageReader, _ error: BlockError?) -> Bool {
    defer { directory.unpin(reader.slot) }
    guard directory.holds(reader.key.value, in: reader.slot) else {
      note(error)
      return false
    }
    if error == nil && checksum(of: reader) == checksums[reader.slot] {
      note(nil)
      return true
    }
    count(reader) { counters in if error == nil { counters.checksumErrors &+= 1 } else { counters.errors &+= 1 } }
    directory.remove(reader.key.value)
    note(error ?? BlockError(.corrupt))
    return false
  }

  @inline(__always)
  private func checksum(of worker: PageWorker) -> UInt32 {
    CacheDiskFormat.pageChecksum(
      members[Int(worker.key.disk)].id, worker.key.page, worker.buffer.start, byteCount: pageByteCount)
  }

  // MARK: Filling

  /// An idle fill for a page that is not cached, its buffer the caller's to be filled; nil when too much is on its way already.
  func takeFill(_ key: PageKey, for virtualDisk: VirtualDiskHandle) -> PageFill? {
    if state != .open || directory.frame(of: key.value) != nil { return nil }
    if overdueCount == 0, let fill = idleFill() {
      if fill.renewBuffer() { return fill }
      remove(fill)
    }
    countSkippedFill(key, virtualDisk)
    return nil
  }

  private func countSkippedFill(_ key: PageKey, _ virtualDisk: VirtualDiskHandle) {
    members[Int(key.disk)].counters.skippedFills &+= 1
    count(virtualDisk) { $0.skippedFills &+= 1 }
  }

  private func idleFill() -> PageFill? {
    if let fill = idleFills.popLast() { return fill }
    guard fills.count < CacheLimits.cacheDiskFills, let fill = PageFill(self) else { return nil }
    fills.append(fill)
    return fill
  }

  /// The buffer of `fill` holds the page as the capacity disk has it at this moment: it goes to the cache disk.
  func start(_ fill: PageFill, _ key: PageKey, for virtualDisk: VirtualDiskHandle) {
    guard state == .open, directory.frame(of: key.value) == nil else { return giveBack(fill) }
    guard let insertion = directory.insert(key.value) else {
      countSkippedFill(key, virtualDisk)
      return giveBack(fill)
    }
    if let evicted = insertion.evicted {
      members[Int(PageKey(value: evicted).disk)].counters.evictions &+= 1
      count(virtualDisk) { $0.evictions &+= 1 }
    }
    let slot = insertion.frame
    isFilling[slot] = 1
    fill.start(key, slot, for: virtualDisk)
    checksums[slot] = checksum(of: fill)
  }

  func giveBack(_ fill: PageFill) {
    if state == .open { idleFills.append(fill) } else { remove(fill) }
  }

  private func remove(_ fill: PageFill) {
    fills.removeAll { $0 === fill }
    fill.end()
  }

  /// The page is there from now on, unless it was written meanwhile or the cache disk failed.
  func endFill(_ fill: PageFill, _ error: BlockError?) {
    isFilling[fill.slot] = 0
    if directory.holds(fill.key.value, in: fill.slot) {
      count(fill) { counters in
        if error == nil {
          counters.fills &+= 1
          counters.fillBytes &+= UInt64(pageByteCount)
        } else {
          counters.errors &+= 1
        }
      }
      if error != nil { directory.remove(fill.key.value) }
    }
    directory.unpin(fill.slot)
    note(error)
    giveBack(fill)
  }

  // MARK: A cache disk that is slow or fails

  func hasStarted() {
    inFlight += 1
    if isWatching { return }
    isWatching = true
    reactor.spawn { [self] in await watch() }
  }

  func hasEnded(_ worker: PageWorker) {
    inFlight -= 1
    if worker.isOverdue {
      worker.isOverdue = false
      overdueCount -= 1
    }
    if inFlight == 0 { waitingForQuiet.wakeAll() }
  }

  /// While anything is in flight: sends clients away that have waited too long.
  private func watch() async {
    while inFlight > 0 {
      await reactor.sleep(milliseconds: max(1, options.patienceMilliseconds / 4))
      var oldest: UInt64 = 0
      for reader in readers { oldest = max(oldest, look(at: reader)) }
      for fill in fills { oldest = max(oldest, look(at: fill)) }
      if overdueCount > 0 { sendClientsAway() }
      if oldest >= options.stallMilliseconds { lose(.stalled(milliseconds: oldest)) }
    }
    isWatching = false
  }

  /// How long the operation has taken, in milliseconds.
  private func look(at worker: PageWorker) -> UInt64 {
    guard worker.isRunning else { return 0 }
    let age = reactor.now.nanoseconds(since: worker.began) / 1_000_000
    if age >= options.patienceMilliseconds && !worker.isOverdue {
      worker.isOverdue = true
      overdueCount += 1
    }
    return age
  }

  /// All that wait for the cache disk go to their capacity disks: what it has not answered yet is not worth waiting for.
  private func sendClientsAway() {
    for reader in readers { reader.client.take()?.resume(returning: false) }
    waitingForReader.wakeAll()
  }

  private func note(_ error: BlockError?) {
    guard let error else {
      if trouble > 0 { trouble -= 1 }
      return
    }
    if error.cause == .stalled || error.cause == .shuttingDown || error.saysDeviceIsGone { return lose(.gone(error)) }
    trouble += CacheLimits.cacheDiskSuccessesPerError
    guard trouble > CacheLimits.cacheDiskErrors * CacheLimits.cacheDiskSuccessesPerError else { return }
    lose(error.cause == .corrupt ? .corrupt : .errors(error))
  }

  /// Nothing is asked of the cache disk any more, for good; who waits for it goes to the capacity disk. The owner is told.
  func lose(_ loss: CacheDiskLoss) {
    guard state == .open || state == .closing else { return }
    state = .lost
    self.loss = loss
    stop()
    guard let onLost else { return }
    self.onLost = nil
    reactor.spawn { onLost(loss) }
  }

  /// Ends the bindings and all workers that have nothing to do.
  func stop() {
    for binding in bindings { binding.end() }
    bindings.removeAll()
    sendClientsAway()
    for reader in idleReaders { reader.end() }
    for fill in idleFills { fill.end() }
    idleReaders.removeAll()
    idleFills.removeAll()
    readers.removeAll { !$0.isRunning && $0.client == nil }
    fills.removeAll { !$0.isRunning }
    waitingForQuiet.wakeAll()
  }
}
