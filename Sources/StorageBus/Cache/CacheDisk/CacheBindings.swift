/// Which capacity disk is cached by which cache disk.
public enum CacheBindings {
  /// Deals capacity disks to cache disks, round robin, so that no cache disk has more than one more than another. Bindings that there are
  /// stay where that allows it: what they have cached would be lost.
  /// - Parameters:
  ///   - capacityDisks, cacheDisks: those that are there, without repetition; their order decides where nothing else does.
  ///   - present: cache disk by capacity disk; others than the two name are passed over.
  /// - Returns: a cache disk for every capacity disk; nothing where there are no cache disks.
  public static func deal<ID: Hashable>(capacityDisks: [ID], cacheDisks: [ID], present: [ID: ID]) -> [ID: ID] {
    if cacheDisks.isEmpty { return [:] }
    var held: [ID: [ID]] = [:]
    for disk in capacityDisks {
      if let cache = present[disk], cacheDisks.contains(cache) { held[cache, default: []].append(disk) }
    }
    // Who holds most keeps most: the larger shares go to them.
    let order = cacheDisks.enumerated().sorted {
      let (left, right) = (held[$0.element]?.count ?? 0, held[$1.element]?.count ?? 0)
      return left != right ? left > right : $0.offset < $1.offset
    }
    let (share, larger) = capacityDisks.count.quotientAndRemainder(dividingBy: cacheDisks.count)
    var bindings: [ID: ID] = [:]
    var room: [(cache: ID, offset: Int, free: Int)] = []
    for (rank, cache) in order.enumerated() {
      let quota = share + (rank < larger ? 1 : 0)
      let kept = (held[cache.element] ?? []).prefix(quota)
      for disk in kept { bindings[disk] = cache.element }
      room.append((cache.element, cache.offset, quota - kept.count))
    }
    room.sort { $0.offset < $1.offset }
    var next = 0
    for disk in capacityDisks where bindings[disk] == nil {
      while room[next].free == 0 { next = (next + 1) % room.count }
      bindings[disk] = room[next].cache
      room[next].free -= 1
      next = (next + 1) % room.count
    }
    return bindings
  }
}
