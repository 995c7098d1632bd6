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
  let paths: PathCalls
  /// The read cache, which the disks share.
  let cache: MemoryCache?
  /// Of all virtual disks, in every disk they lie on.
  let shares = VirtualDiskShares()

  init(reactor: RingReactor, blocking: BlockingCalls, cache: MemoryCache? = nil) {
    self.reactor = reactor
    self.blocking = blocking
    self.cache = cache
    paths = PathCalls(reactor: reactor, fallback: blocking)
  }

  /// The disk that `path` leads to now; nil when there is none, or it does not answer.
  func identity(of path: String) async -> DiskIdentity? {
    await paths.perform(at: path) { thread in await thread.perform { DiskIdentity.of(path: path) } } ?? nil
  }

  /// Claims every path, or none: what was opened is closed again when one fails.
  func claim(
    _ paths: [String], access: DiskAccess = .claimed, waitMilliseconds: UInt64 = DiskLimits.claimWaitMilliseconds
  ) async throws(APIError) -> [ClaimedDisk] {
    try await refuseTwins(paths)
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
  private func refuseTwins(_ paths: [String]) async throws(APIError) {
    var seen: [DiskIdentity: String] = [:]
    for path in paths {
      guard let identity = await identity(of: path) else { continue }  // opening it says what is wrong
      if let twin = seen[identity] {
        throw APIError(
          .badRequest, path == twin ? "\(path) is given twice" : "\(path) and \(twin) are the same disk", remedy: "Name each disk once")
      }
      seen[identity] = path
    }
  }

  private func claim(_ path: String, _ access: DiskAccess, _ wait: UInt64) async throws(APIError) -> ClaimedDisk {
    guard let opened = await open(path, access, wait) else { throw noAnswer(path) }
    do throws(DiskOpenError) {
      let disk = ClaimedDisk(path: path, port: try opened.get(), reactor: reactor, cache: cache, shares: shares)
      watch(disk)
      return disk
    } catch { throw APIError(error) }
  }

  /// nil when the disk does not answer.
  private func open(_ path: String, _ access: DiskAccess, _ wait: UInt64) async -> Result<DescriptorPort, DiskOpenError>? {
    await paths.perform(at: path, limitMilliseconds: ServiceLimits.pathAnswerMilliseconds + wait) { opened in
      if let port = try? opened.get() { await port.close() }
    } _: { [reactor, blocking] thread in
      do throws(DiskOpenError) {
        return .success(
          try await DescriptorPort.open(
            path: path, access: access, on: reactor, blocking: blocking, opening: thread, claimWaitMilliseconds: wait))
      } catch { return .failure(error) }
    }
  }

  private func noAnswer(_ path: String) -> APIError {
    APIError(
      .busy, "\(path) does not answer", remedy: "Look at the disk, its cabling, or what serves the file system it lies on")
  }

  /// A disk that hangs before it is a pool's is given up as the pool would: who waits for it gets an error.
  private func watch(_ disk: ClaimedDisk) {
    reactor.spawn { [weak disk, reactor] in
      while let disk, !disk.isSettled {
        if disk.physical.oldestRequestAge(now: reactor.now) / 1_000_000 >= ServiceLimits.pathAnswerMilliseconds {
          return disk.physical.abandon()
        }
        await reactor.sleep(milliseconds: ServiceLimits.diskWatchMilliseconds)
      }
    }
  }

  func close(_ disks: [ClaimedDisk]) async {
    for disk in disks {
      disk.isSettled = true
      await disk.physical.close()
    }
  }

  /// Which pool's disk lies at `path`; nil when it is no pool's or cannot be looked at. Nothing is claimed.
  func peek(_ path: String) async -> Superblock? {
    guard let opened = await open(path, .readOnly, 0), let port = try? opened.get() else { return nil }
    let disk = ClaimedDisk(path: path, port: port, reactor: reactor, cache: cache, shares: shares)
    watch(disk)
    let superblock = await StoragePool.superblock(of: disk.physical)
    await close([disk])
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
