import Logging
import Management
import Pool

/// Something the operator should know of a pool's room before a client is told ENOSPC.
struct SpaceWarning {
  /// Whom it concerns; it is logged once as long as that stays so, whatever the figures do.
  var subject: String
  /// A sentence with what to do.
  var text: String
}

extension StorageService {
  /// What there is to say now of a pool's free space.
  func spaceWarnings(of served: ServedPool) -> [SpaceWarning] {
    let pool = served.pool
    if pool.isReadOnly { return [] }
    let free = pool.freeByteCount
    var warnings: [SpaceWarning] = []
    if free < pool.capacityByteCount / ServiceLimits.lowSpaceFraction {
      let text =
        "The pool \(pool.name) is nearly full: \(ByteSize(byteCount: free)) of \(ByteSize(byteCount: pool.capacityByteCount)) are free. "
        + "When it is full, writes of new data to thin virtual disks fail with ENOSPC; trim or delete what is not needed."
      warnings.append(SpaceWarning(subject: pool.name, text: text))
    }
    if free == 0 { return warnings }
    for disk in served.sortedVirtualDisks.map(\.disk) where disk.record.provisioning == .thin {
      let columns = Int(disk.record.columns)
      guard pool.rowsAvailable(slabsPerRow: columns * Int(disk.record.copies)) == 0, disk.allocatedByteCount < disk.record.byteCount else {
        continue
      }
      let text =
        "The virtual disk \(disk.label) can take no more space, though \(ByteSize(byteCount: free)) are free in the pool: its stripes need "
        + "room on \(columns * Int(disk.record.copies)) disks at once, and fewer have any. Writes of new data to it fail with ENOSPC; trim or "
        + "delete what is not needed, or use virtual disks with fewer columns."
      warnings.append(SpaceWarning(subject: disk.label, text: text))
    }
    return warnings
  }

  /// Logs each warning when it comes up, as long as the pool is open.
  func watchSpace(of served: ServedPool) {
    reactor.spawn { [weak self, reactor] in
      var known: Set<String> = []
      while let subjects = self?.logSpaceWarnings(of: served, except: known) {
        known = subjects
        await reactor.sleep(milliseconds: ServiceLimits.spaceWatchMilliseconds)
      }
    }
  }

  /// - Returns: whom there is a warning about now; nil when the pool is not open any more.
  private func logSpaceWarnings(of served: ServedPool, except known: Set<String>) -> Set<String>? {
    guard pools[served.name] === served else { return nil }
    let warnings = spaceWarnings(of: served)
    for warning in warnings where !known.contains(warning.subject) { logger.warning("\(warning.text)") }
    return Set(warnings.map(\.subject))
  }
}
