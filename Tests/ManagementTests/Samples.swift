import Management

/// Objects with fixed figures.
enum Samples {
  static func disk(_ path: String, pool: String?, kind: DiskInfo.Kind = .file) -> DiskInfo {
    DiskInfo(
      uuid: "0f0e0d0c-0b0a-4908-8706-050403020100", path: path, pool: pool, kind: kind, ioMode: .direct, sizeBytes: 10 << 30,
      allocatedBytes: 512 << 20, freeBytes: 9 << 30, logicalSectorBytes: 512, physicalSectorBytes: 4096, health: .healthy, role: .voter)
  }

  static func pool(_ name: String, disks: [String], slabBytes: UInt64 = 256 << 20, state: PoolInfo.State = .ok) -> PoolInfo {
    PoolInfo(
      name: name, uuid: "1f1e1d1c-1b1a-4918-9716-151413121110", state: state, capacityBytes: 30 << 30, allocatedBytes: 1536 << 20,
      freeBytes: 27 << 30, slabBytes: slabBytes, disks: disks.map { disk($0, pool: name) }, virtualDisks: [], features: [])
  }

  static func virtualDisk(_ request: CreateVirtualDisk) -> VirtualDiskInfo {
    VirtualDiskInfo(
      pool: request.pool, name: request.name, uuid: "2f2e2d2c-2b2a-4928-a726-252423222120", sizeBytes: request.sizeBytes,
      provisioning: request.provisioning, resiliency: request.resiliency, columns: request.columns ?? 3,
      interleaveBytes: request.interleaveBytes ?? 256 << 10, logicalSectorBytes: request.logicalSectorBytes ?? 512,
      allocatedBytes: 768 << 20, clientCount: 0, state: .ok, copies: request.copies ?? (request.resiliency == .mirror ? 2 : 1))
  }

  static func volume() -> VolumeInfo {
    let disk = ExportInfo(name: "tank/data", identifier: "tank/data d1", clientCount: 4, clientProcesses: [70])
    return VolumeInfo(
      pool: "tank", virtualDisk: "data", partition: 1, partitionLabel: "home", offsetBytes: 1 << 20, sizeBytes: 10 << 20,
      export: ExportInfo(name: "tank/data/1", identifier: "tank/data/1 p1", clientCount: 1, clientProcesses: [71]), diskExport: disk,
      content: ContentInfo(type: "ext4", usage: "filesystem", label: "lots", uuid: "u-1", usedBytes: 1 << 20, freeBytes: 9 << 20))
  }

  static func counters(_ requests: UInt64, bytes: UInt64, meanNanoseconds: UInt64, errors: UInt64 = 0) -> OperationCounters {
    OperationCounters(
      requests: requests, bytes: bytes, errors: errors, inFlight: 1,
      latency: LatencySummary(
        meanNanoseconds: meanNanoseconds, p50Nanoseconds: meanNanoseconds * 9 / 10, p90Nanoseconds: meanNanoseconds * 2,
        p99Nanoseconds: meanNanoseconds * 5, p999Nanoseconds: meanNanoseconds * 8, maxNanoseconds: meanNanoseconds * 20))
  }

  /// A stack of every layer over two disks, of which the second errs.
  static func stack(export: String) -> StackNode {
    let first = StackNode(
      layer: "PhysicalDisk", label: "/srv/disks/a.img", read: counters(600_000, bytes: 2_457_600_000, meanNanoseconds: 81_250),
      write: counters(12, bytes: 49_152, meanNanoseconds: 950))
    let second = StackNode(
      layer: "PhysicalDisk", label: "/srv/a/very/long/path/to/a/place/that/nobody/would/choose/disks/b.img",
      read: counters(634_567, bytes: 2_599_186_432, meanNanoseconds: 1_250_000, errors: 3))
    let bus = StackNode(layer: "StorageBus", label: "", read: counters(1_234_567, bytes: 5_056_786_432, meanNanoseconds: 612_000))
    let pool = StackNode(layer: "Pool", label: "tank", children: [withChildren(bus, [first]), withChildren(bus, [second])])
    let virtualDisk = StackNode(
      layer: "VirtualDisk", label: export, read: counters(1_234_567, bytes: 5_056_786_432, meanNanoseconds: 640_000),
      write: counters(12, bytes: 49_152, meanNanoseconds: 2_500), flush: counters(2, bytes: 0, meanNanoseconds: 1_500_000_000),
      discard: counters(1, bytes: 1 << 40, meanNanoseconds: 5), writeZeroes: counters(10_000_000, bytes: 512, meanNanoseconds: 999),
      children: [pool])
    return StackNode(layer: "NBDServer", label: export, children: [virtualDisk])
  }

  private static func withChildren(_ node: StackNode, _ children: [StackNode]) -> StackNode {
    var node = node
    node.children = children
    return node
  }

  static func partitionTable(_ path: VirtualDiskPath) -> PartitionTableInfo {
    PartitionTableInfo(
      pool: path.pool, virtualDisk: path.name, sizeBytes: 10 << 30, sectorBytes: 512, kind: .gpt,
      diskID: "616E48F4-2982-4B11-9FE8-4B57D9B8242D", alignmentBytes: 3 << 20, freeBytes: 5 << 30, largestFreeBytes: 4 << 30,
      partitions: [
        PartitionInfo(
          number: 1, label: "esp", type: "efi", typeID: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
          uuid: "06CB42D1-2603-42F7-B5F9-493786D45438", firstSector: 6144, lastSector: 2_103_295, sizeBytes: 1 << 30,
          attributes: ["required", "5"], exports: ["\(path)/1", "\(path)/esp"], clientCount: 1),
        PartitionInfo(number: 7, type: "linux", typeID: "x", firstSector: 2_107_392, lastSector: 2_109_439, sizeBytes: 1 << 20),
      ])
  }
}
