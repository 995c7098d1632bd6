// large-pool DIRECTORY SLABS COPIES COLUMNS: makes a pool `large` whose slabs of 1 MiB are in use, as many as asked for, on sparse files
// in DIRECTORY, and prints their paths. Only the metadata is written, so a pool of terabytes takes a gigabyte and half a minute. For
// measuring how long opening such a pool takes and what it needs.
import BlockDevice
import CLinux
import func Glibc.exit
import Glibc
import PhysicalDisk
import Pool
import Reactor
import StorageBus
import VirtualDisk

struct Failure: Error { var text: String }

struct LargePool {
  let directory: String
  let slabCount: Int
  let copies: Int
  let columns: Int
  var width: Int { copies * columns }
  var rowCount: Int { slabCount / width }
  private let slabByteCount: UInt64 = 1 << 20

  func make(_ reactor: RingReactor, _ blocking: BlockingCalls) async throws {
    let slabsPerDisk = (slabCount + width - 1) / width
    // A hundredth of room, and what the metadata and the margins take.
    let diskByteCount = UInt64(slabsPerDisk + slabsPerDisk / 100) * slabByteCount + metadataByteCount + (64 << 20)
    var members: [PoolMember] = []
    var disks: [PhysicalDisk] = []
    for number in 1...width {
      let path = "\(directory)/large\(number)"
      let descriptor = Glibc.open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0o644)
      guard descriptor >= 0, ftruncate(descriptor, Int(diskByteCount)) == 0 else { throw Failure(text: "\(path) cannot be made") }
      Glibc.close(descriptor)
      let port = try await DescriptorPort.open(path: path, on: reactor, blocking: blocking)
      let disk = PhysicalDisk(reactor: reactor, port: port)
      disks.append(disk)
      members.append(PoolMember(device: BusDevice(disk: disk), path: path))
      print(path)
    }
    var layout = try StoragePool.chooseLayout(for: members, slabByteCount: slabByteCount)
    layout.metadataByteCount = metadataByteCount
    let pool = try await StoragePool.create(named: "large", on: members, layout: layout, createdSeconds: 1, reactor: reactor)
    let plan = VirtualDiskPlan(
      name: "disk", byteCount: UInt64(rowCount * columns) * slabByteCount, copies: copies, columns: columns)
    let disk = try await VirtualDisk.create(plan, in: pool, handle: VirtualDiskHandle(number: 1))
    try await fill(pool, disk.record)
    try await disk.close()
    try await pool.close()
    for disk in disks { await disk.close() }
  }

  /// Two slots for each page of records, the journal, and some.
  private var metadataByteCount: UInt64 {
    let bytes = rowCount * (2 * 24 + RowRecord.Offset.slab(width) + 40)
    return (UInt64(bytes) * 5 / 2 / slabByteCount + 64) * slabByteCount
  }

  private func fill(_ pool: StoragePool, _ record: VirtualDiskRecord) async throws {
    let chunkCount = Int(slabByteCount) * columns / Int(record.presenceChunkByteCount)
    var presence = [UInt8](repeating: 0xff, count: (chunkCount + 7) / 8)
    if chunkCount % 8 != 0 { presence[presence.count - 1] = UInt8(1 << (chunkCount % 8) - 1) }
    var changes: [MetadataChange] = []
    var byteCount = 0
    for index in 0..<rowCount {
      let slabs = (0..<width).map { place in
        RowRecord.Slab(
          disk: DiskNumber(UInt32((index + place) % width + 1)), number: SlabNumber(UInt32(index)),
          generation: SlabGeneration(UInt64(index * width + place + 1)))
      }
      let row = RowRecord(
        id: pool.nextRowID(), resiliency: record.resiliency, columns: record.columns, copies: record.copies,
        interleave: record.interleave, virtualDisk: record.number, slabs: slabs)
      let map = MapRecord(virtualDisk: record.number, index: UInt64(index), row: row.id, presence: presence)
      changes += [.put(row), .put(map)]
      byteCount += StoragePool.byteCount(of: changes.suffix(2))
      if byteCount > pool.commitByteLimit - 1024 || index == rowCount - 1 {
        try await pool.commit(changes)
        changes.removeAll(keepingCapacity: true)
        byteCount = 0
      }
    }
  }
}

let arguments = CommandLine.arguments
guard arguments.count == 5, let slabCount = Int(arguments[2]), let copies = Int(arguments[3]), let columns = Int(arguments[4]),
  (1...3).contains(copies), (1...16).contains(columns), (copies * columns...1 << 24).contains(slabCount)
else {
  print("usage: large-pool DIRECTORY SLABS COPIES COLUMNS")
  exit(2)
}
let large = LargePool(directory: arguments[1], slabCount: slabCount, copies: copies, columns: columns)
let reactor = try RingReactor.start(name: "large-pool")
let blocking = try BlockingCalls.start(name: "blocking")
let made = await reactor.run { () async -> String? in
  do { try await large.make(reactor, blocking) } catch { return "\(error)" }
  return nil
}
if let made {
  print(made)
  exit(1)
}
exit(0)
