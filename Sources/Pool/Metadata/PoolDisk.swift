import BlockDevice
import Reactor

/// A disk of a pool as the store knows it: the device and what its superblock says.
public final class PoolDisk: @unchecked Sendable {  // reactor-confined
  public let device: BlockDevice
  public internal(set) var superblock: Superblock
  /// What its superblock said when it was found, before this opening of the pool changed it.
  let foundNonce: UInt64
  /// It was closed in order by the opening of that nonce, and so is what it was then: a copy made in the middle of it has the same nonce.
  let wasFoundClean: Bool
  /// Superblock places that were damaged when the disk was read; healed by the next writings.
  public let damagedSuperblockOffsets: [UInt64]
  /// Why the store does not write to it any more; nil while it does.
  public internal(set) var failure: MetadataError?
  public var hasFailed: Bool { failure != nil }

  init(device: BlockDevice, superblock: Superblock, damagedSuperblockOffsets: [UInt64] = []) {
    self.device = device
    self.superblock = superblock
    foundNonce = superblock.nonce
    wasFoundClean = superblock.isClosedCleanly
    self.damagedSuperblockOffsets = damagedSuperblockOffsets
  }

  public var number: DiskNumber { superblock.diskNumber }
  public var id: DiskID { superblock.disk }
  public var layout: DiskLayout { superblock.layout }
  /// By its own superblock: an open store's `voters` is what counts.
  public var isVoter: Bool { superblock.epoch.voters.contains(id) }
  var owner: StructureOwner { superblock.owner }
  var label: String { device.label }
}

/// A voter's checkpoint as it lies on its disk, and the buffers to write the next one with.
final class Voter: @unchecked Sendable {  // reactor-confined
  let disk: PoolDisk
  /// The page table of its newest checkpoint.
  var references: [PageReference]
  var tables: [PageReference]
  /// Pages that its checkpoint does not hold as the source's does: written by the next checkpoint though nothing changed them.
  var lacking = PageSet()
  private(set) var pageBuffer: BufferSlice?
  private(set) var journalBuffer: BufferSlice?

  init(disk: PoolDisk) {
    self.disk = disk
    references = Array(repeating: .none, count: disk.layout.pageCount)
    tables = Array(repeating: .none, count: disk.layout.pageTableCount)
  }

  var device: BlockDevice { disk.device }
  var layout: DiskLayout { disk.layout }
  var owner: StructureOwner { disk.owner }

  /// Takes the buffers it keeps while the store is open.
  func acquireBuffers(journalEntryByteCount: Int) async {
    pageBuffer = await device.reactor.buffers.acquire(byteCount: StoreLimits.checkpointDepth * FormatLimits.pageByteCount)
    journalBuffer = await device.reactor.buffers.acquire(byteCount: journalEntryByteCount)
  }

  func releaseBuffers() {
    for buffer in [pageBuffer, journalBuffer] { if let buffer { device.reactor.buffers.release(buffer.buffer) } }
    pageBuffer = nil
    journalBuffer = nil
  }
}
