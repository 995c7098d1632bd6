import BlockDevice
import CLinux
import Pool
import Reactor
import VirtualDisk

/// What lies below a virtual disk and no client can see. No request may be in flight.
public enum Examination {
  /// Reads every copy of what is present, and throws where two differ.
  public static func checkCopiesAgree(_ disk: VirtualDisk) async throws {
    let buffers = disk.reactor.buffers
    let unit = 64 << 10
    let first = await buffers.acquire(byteCount: unit)
    let other = await buffers.acquire(byteCount: unit)
    defer {
      buffers.release(first.buffer)
      buffers.release(other.buffer)
    }
    for stretch in disk.presentStretches(limit: UInt64(unit)) where stretch.copies.count > 1 {
      let byteCount = Int(stretch.byteCount)
      try await stretch.copies[0].device.read(at: stretch.copies[0].address, into: first.part(from: 0, byteCount: byteCount), IORequest())
      for copy in stretch.copies.dropFirst() {
        try await copy.device.read(at: copy.address, into: other.part(from: 0, byteCount: byteCount), IORequest())
        if memcmp(first.start, other.start, byteCount) != 0 {
          throw Surprise(
            "\(disk.label) row \(stretch.row): the copies on \(stretch.copies[0].device.label) and \(copy.device.label) differ between "
              + "\(stretch.start) and \(stretch.start + stretch.byteCount)")
        }
      }
    }
  }

  /// Throws where a slab is held twice, or where the pool counts other slabs as taken than its virtual disks hold.
  public static func checkSlabs(of pool: StoragePool, _ virtualDisks: [VirtualDisk]) throws {
    var held: [UInt32: Set<UInt32>] = [:]
    for disk in virtualDisks {
      for slab in disk.heldSlabs where !held[slab.disk.value, default: []].insert(slab.slab.value).inserted {
        throw Surprise("slab \(slab.slab) of disk \(slab.disk) is held twice, once by \(disk.label)")
      }
    }
    for disk in pool.disks {
      let taken = (pool.capacityByteCount(of: disk) - pool.freeByteCount(of: disk)) / pool.slabByteCount
      let count = held[disk.number.value]?.count ?? 0
      if taken != UInt64(count) { throw Surprise("\(disk.label): \(taken) slabs are taken, virtual disks hold \(count)") }
    }
  }
}
