import BlockDevice
import PartitionTable
import Reactor

// Making, opening and erasing pools.

extension StoragePool {
  /// The types of the partitions on a pooled disk, as text in lower case.
  public static let partitionTypes: Set<String> = [
    GUID.spaceportMetadata.description.lowercased(), GUID.spaceportData.description.lowercased(),
  ]

  /// Which pool a disk says it belongs to; nil when it says nothing that can be read.
  public static func superblock(of device: BlockDevice) async -> Superblock? { await MetadataStore.probe(device).newest }

  /// Makes a pool of the disks, whose content is lost, and opens it. `layout` is for tests that want small metadata; else it is chosen.
  public static func create(
    named name: String, on members: [PoolMember], slabByteCount: UInt64? = nil, layout: LayoutChoice? = nil, createdSeconds: UInt64,
    reactor: any Reactor
  ) async throws(PoolError) -> StoragePool {
    do throws(MetadataError) {
      let sizes = members.map(\.device.geometry.byteCount)
      let choice: LayoutChoice
      if let layout { choice = layout } else { choice = try LayoutChoice(diskByteCounts: sizes, slabByteCount: slabByteCount) }
      for member in members {
        let layout = try choice.layout(diskByteCount: member.device.geometry.byteCount)
        do throws(PoolError) { try await PooledDiskTable.write(on: member, layout: layout, poolName: name, reactor: reactor) } catch {
          throw MetadataError(.diskFailed, error.message, remedy: error.remedy)
        }
      }
      let disks = members.map { NewDisk(device: $0.device, pathHint: String($0.path.prefix(FormatLimits.pathHintByteCount / 4))) }
      let options = FormatOptions(poolName: name, createdSeconds: createdSeconds, layout: choice)
      _ = try await MetadataStore.format(disks: disks, options: options, reactor: reactor)
    } catch {
      // Nothing of a pool that did not come to be is left on the disks; if that fails too, they say so themselves at the next try.
      for member in members { _ = try? await PooledDiskTable.erase(member) }
      throw PoolError(error, doing: "making the pool \(name)")
    }
    return try await open(members, reactor: reactor)
  }

  /// Opens a pool from all of its disks, in any order and wherever they are now.
  public static func open(_ members: [PoolMember], reactor: any Reactor) async throws(PoolError) -> StoragePool {
    let store: MetadataStore
    do throws(MetadataError) { store = try await MetadataStore.open(devices: members.map(\.device), reactor: reactor) } catch {
      throw PoolError(error, doing: "opening a pool")
    }
    let pool: StoragePool
    do throws(PoolError) { pool = try assemble(store, reactor) } catch {
      await store.close()
      throw error
    }
    do throws(PoolError) { try pool.loadRows() } catch {
      _ = try? await pool.close()  // the workers of its splitters have to end before it goes
      throw error
    }
    return pool
  }

  private static func assemble(_ store: MetadataStore, _ reactor: any Reactor) throws(PoolError) -> StoragePool {
    let record: PoolRecord
    do throws(MetadataError) {
      guard let found: PoolRecord = try store.value(for: PoolRecord.key) else {
        throw MetadataError(.damaged, "The pool \(store.poolName) has no record of itself.", remedy: "Run spaceport inspect on its disks.")
      }
      record = found
    } catch { throw PoolError(error, doing: "opening the pool \(store.poolName)") }
    var allocator = SlabAllocator()
    let disks = store.disks.sorted { $0.number < $1.number }.map { DataPartition(of: $0, poolName: record.name) }
    for disk in disks { allocator.addDisk(disk.number, slabCount: disk.slabCount) }
    return StoragePool(reactor: reactor, store: store, disks: disks, record: record, allocator: allocator)
  }

  /// Overwrites what identifies the members as a pool's disks, partition tables included. The pool is closed before.
  public static func erase(_ members: [PoolMember]) async throws(PoolError) {
    for member in members { try await PooledDiskTable.erase(member) }
  }
}

extension PoolError {
  init(_ error: MetadataError, doing action: String) {
    let cause: Cause =
      switch error.cause {
      case .invalidArgument, .diskTooSmall, .mixedPools, .tooLarge, .invalidChange: .invalid
      case .notPooled: .notFound
      case .disksMissing: .disksMissing
      case .cloned, .stale, .evicted, .split, .damaged: .damaged
      case .metadataFull: .noSpace
      case .unsupportedFeature, .readOnly, .closed: .wrongState
      case .diskFailed: .ioFailed
      }
    self.init(cause, "\(action.capitalizedFirst) failed: \(error.message)", remedy: error.remedy)
  }
}

extension String {
  var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
