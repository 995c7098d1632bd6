import BlockDevice
import Management
import PhysicalDisk
import Pool
import Reactor
import StorageBus

/// Opening and closing sets of disks for pools.
struct DiskClaims {
  let reactor: RingReactor
  let blocking: BlockingCalls

  /// Claims every path, or none: what was opened is closed again when one fails.
  func claim(
    _ paths: [String], access: DiskAccess = .claimed, waitMilliseconds: UInt64 = DiskLimits.claimWaitMilliseconds
  ) async throws(APIError) -> [ClaimedDisk] {
    try refuseTwins(paths)
    var disks: [ClaimedDisk] = []
    do throws(APIError) {
      for path in paths { disks.append(try await claim(path, access, waitMilliseconds)) }
    } catch {
      await close(disks)
      throw error
    }
    return disks
  }

  /// Two paths may lead to one disk; the claim alone would call it "in use".
  private func refuseTwins(_ paths: [String]) throws(APIError) {
    var seen: [DiskIdentity: String] = [:]
    for path in paths {
      guard let identity = DiskIdentity.of(path: path) else { continue }  // opening it says what is wrong
      if let twin = seen[identity] {
        throw APIError(
          .badRequest, path == twin ? "\(path) is given twice" : "\(path) and \(twin) are the same disk", remedy: "Name each disk once")
      }
      seen[identity] = path
    }
  }

  private func claim(_ path: String, _ access: DiskAccess, _ wait: UInt64) async throws(APIError) -> ClaimedDisk {
    do throws(DiskOpenError) {
      let port = try await DescriptorPort.open(
        path: path, access: access, on: reactor, blocking: blocking, claimWaitMilliseconds: wait)
      return ClaimedDisk(path: path, port: port, reactor: reactor)
    } catch { throw APIError(error) }
  }

  func close(_ disks: [ClaimedDisk]) async {
    for disk in disks { await disk.physical.close() }
  }

  /// Which pool's disk lies at `path`; nil when it is no pool's or cannot be looked at. Nothing is claimed.
  func peek(_ path: String) async -> Superblock? {
    guard
      let port = try? await DescriptorPort.open(path: path, access: .readOnly, on: reactor, blocking: blocking, claimWaitMilliseconds: 0)
    else { return nil }
    let disk = PhysicalDisk(reactor: reactor, port: port)
    let superblock = await StoragePool.superblock(of: disk)
    await disk.close()
    return superblock
  }

  /// Refuses disks that carry anything; with `force` erases what they carry.
  func clear(_ disks: [ClaimedDisk], force: Bool) async throws(APIError) {
    for disk in disks {
      let found: DiskSignatures
      do throws(SignatureError) {
        found = try await disk.port.scanSignatures()
        if force && !found.isEmpty { _ = try await disk.port.wipeSignatures() }
      } catch {
        throw APIError(.ioError, error.description.withoutFullStop, remedy: "Check the disk")
      }
      if !force && !found.isEmpty { try await refuse(disk, found) }
    }
  }

  /// After partition tables were written or wiped: else the kernel goes on showing partitions that are no more, over what is the pool's.
  /// A device of which somebody has a partition open keeps the old view until it is attached again.
  func rereadPartitions(of disks: [ClaimedDisk]) async {
    for disk in disks { _ = await disk.port.rereadPartitions() }
  }

  private func refuse(_ disk: ClaimedDisk, _ found: DiskSignatures) async throws(APIError) {
    if let superblock = await StoragePool.superblock(of: disk.physical) {
      throw APIError(
        .diskNotEmpty, "\(disk.path) belongs to the pool \(superblock.poolName) (\(superblock.pool))",
        remedy: "Open that pool with `spaceport pool open`, or give --force to wipe the disk")
    }
    let list = found.signatures.map(\.description).joined(separator: ", ")
    throw APIError(
      .diskNotEmpty, "\(disk.path) is not empty: it carries \(list)", remedy: "Choose another disk, or give --force to wipe it")
  }
}
