import PhysicalDisk
import Pool

/// Where the disks of pools are that are not where they were: a raw disk has another name after a start of the machine, or at another port.
///
/// As long as a pool misses a disk, each block device of the machine is looked at when it comes, not again and again: disks that sleep go on
/// sleeping. What is found is only a hint: whether it is the pool's disk, as the pool last knew it, is seen when it is opened. Files are not looked for.
final class MovedDisks: @unchecked Sendable {  // reactor-confined
  private struct Look {
    var count = 0
    var pool: PoolID?
    var disk: DiskID?
  }

  private var looks: [AttachedDisk: Look] = [:]

  func look(with claims: DiskClaims) async {
    let all = await claims.paths.perform(at: "/sys/block") { thread in await thread.perform { AttachedDisk.all() } }
    guard let all else { return }
    looks = looks.filter { all.contains($0.key) }
    // A disk that has just come may not answer yet.
    for disk in all where looks[disk, default: Look()].count < ServiceLimits.looksPerDisk && looks[disk]?.disk == nil {
      let superblock = await claims.peek(disk.path, isAlone: true)
      let count = (looks[disk]?.count ?? 0) + 1
      looks[disk] = Look(count: count, pool: superblock?.pool, disk: superblock?.disk)
    }
  }

  func forget() { looks = [:] }

  /// By disk. Of two that say they are the same one is a copy, and neither is believed.
  func paths(of pool: PoolID) -> [DiskID: String] {
    var paths: [DiskID: [String]] = [:]
    for (disk, look) in looks where look.pool == pool {
      if let id = look.disk { paths[id, default: []].append(disk.path) }
    }
    return paths.compactMapValues { $0.count == 1 ? $0[0] : nil }
  }
}

extension StorageService {
  /// From the first look on, which gives the names that udev makes time to appear.
  func watchForMovedDisks() {
    reactor.spawn { [weak self, reactor] in
      while true {
        await reactor.sleep(milliseconds: ServiceLimits.movedDiskLookMilliseconds)
        guard let self, !self.isStopping else { return }
        if self.missesDisks { await self.movedDisks.look(with: self.claims) } else { self.movedDisks.forget() }
      }
    }
  }

  private var missesDisks: Bool {
    !waiting.isEmpty || pools.values.contains { !$0.pool.isReadOnly && !$0.pool.awayDiskNumbers.isEmpty }
  }
}
