import BlockDevice
import Reactor

extension CacheDisk {
  /// Capacity disks of which pages were taken over, and that are not bound yet: best bound to this cache disk.
  public var warmDisks: [StorageUUID] { members.filter { $0.isWarm && !$0.isBound }.map(\.id) }

  /// Gives the cache disk up where that has not been done, as `abandon`, and returns when nothing is in flight on it any more: then the device
  /// may be closed. What hangs is waited for until the device is abandoned.
  public func end() async {
    abandon()
    while inFlight > 0 { await withUnsafeContinuation { waitingForQuiet.append($0) } }
  }
}

// MARK: - By virtual disk

extension CacheDisk {
  /// What it did for a virtual disk. What writes did to pages is known by disk alone: several virtual disks may have a part of one.
  public func counters(of virtualDisk: VirtualDiskHandle) -> CacheDiskCounters {
    let number = Int(virtualDisk.number)
    return number < virtualDiskCounters.count ? virtualDiskCounters[number] : CacheDiskCounters()
  }

  @inline(__always)
  func count(hit byteCount: Int, _ pages: Int, _ virtualDisk: VirtualDiskHandle) {
    count(virtualDisk) { counters in
      counters.hits &+= UInt64(pages)
      counters.hitBytes &+= UInt64(byteCount)
    }
  }

  /// - Parameter decision: nil where the memory cache has decided not to keep it.
  func count(miss byteCount: Int, _ decision: AdmissionDecision?, _ disk: UInt16, _ virtualDisk: VirtualDiskHandle) {
    members[Int(disk)].counters.miss(decision, byteCount)
    count(virtualDisk) { $0.miss(decision, byteCount) }
  }

  /// What an operation came to, for its disk and its virtual disk.
  @inline(__always)
  func count(_ worker: PageWorker, _ change: (inout CacheDiskCounters) -> Void) {
    change(&members[Int(worker.key.disk)].counters)
    count(worker.request.virtualDisk, change)
  }

  @inline(__always)
  func count(_ virtualDisk: VirtualDiskHandle, _ change: (inout CacheDiskCounters) -> Void) {
    if Int(virtualDisk.number) >= virtualDiskCounters.count { makeCounters(upTo: virtualDisk) }
    change(&virtualDiskCounters[Int(virtualDisk.number)])
  }

  private func makeCounters(upTo virtualDisk: VirtualDiskHandle) {
    virtualDiskCounters += repeatElement(CacheDiskCounters(), count: Int(virtualDisk.number) + 1 - virtualDiskCounters.count)
  }
}
