import BlockDevice
import CLinux
import Logging
import PhysicalDisk
import Pool
import Reactor

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The witness of one pool, open and claimed.
final class OpenWitness: Sendable {
  let path: String
  let disk: PhysicalDisk
  let witness: Witness

  init(path: String, disk: PhysicalDisk, witness: Witness) {
    self.path = path
    self.disk = disk
    self.witness = witness
  }

  func close() async { await disk.close() }
}

/// The files that remember, apart from the pools' disks, which membership each pool is at and how far it had come (rules M): `pools/UUID.witness` in the state
/// directory. A pool that this server forgets loses its witness here: another server may change it meanwhile, and an old witness that came
/// back would agree with a stale disk. Without one the majority of the disks decides.
struct WitnessFiles {
  let directory: String
  let reactor: RingReactor
  let blocking: BlockingCalls

  init(stateDirectory: String, reactor: RingReactor, blocking: BlockingCalls) {
    directory = stateDirectory + "/pools"
    self.reactor = reactor
    self.blocking = blocking
  }

  private func path(of pool: PoolID) -> String { "\(directory)/\(pool).witness" }
  private var newPath: String { "\(directory)/new.witness" }

  /// The pool's witness; an empty one is made where there is none.
  func open(_ pool: PoolID) async throws(ServiceError) -> OpenWitness {
    let path = path(of: pool)
    if await !blocking.perform({ access(path, F_OK) == 0 }) { try await make(path) }
    return try await open(path)
  }

  /// What the pool's witness says, without writing; nil where there is none, or nothing that can be read.
  func peek(_ pool: PoolID) async -> WitnessedState? {
    let path = path(of: pool)
    guard
      let port = try? await DescriptorPort.open(path: path, access: .readOnly, on: reactor, blocking: blocking, claimWaitMilliseconds: 0)
    else { return nil }
    let disk = PhysicalDisk(reactor: reactor, port: port)
    let reading = try? await Witness(device: disk).read(pool: pool)
    await disk.close()
    return reading?.state
  }

  /// An empty one for a pool that has no name yet: `adopt` gives it one. Only one at a time.
  func openNew() async throws(ServiceError) -> OpenWitness {
    let path = newPath
    _ = await blocking.perform { unlink(path) }
    try await make(path)
    return try await open(path)
  }

  func adopt(_ witness: OpenWitness, by pool: PoolID) async throws(ServiceError) -> OpenWitness {
    let (old, new, directory) = (witness.path, path(of: pool), directory)
    let failure = await blocking.perform { () -> String? in
      rename(old, new) == 0 ? WitnessFiles.synchronize(directory) : lastSystemError()
    }
    if let failure { throw cannot("be renamed to \(new)", old, failure) }
    return OpenWitness(path: new, disk: witness.disk, witness: witness.witness)
  }

  /// Does nothing where there is none.
  func remove(_ pool: PoolID) async {
    let path = path(of: pool)
    _ = await blocking.perform { unlink(path) }
  }

  private func open(_ path: String) async throws(ServiceError) -> OpenWitness {
    let port: DescriptorPort
    do throws(DiskOpenError) { port = try await DescriptorPort.open(path: path, on: reactor, blocking: blocking) } catch {
      throw ServiceError("The witness \(path) cannot be used: \(error.description)")
    }
    let disk = PhysicalDisk(reactor: reactor, port: port)
    guard disk.geometry.byteCount >= Witness.byteCount else {
      await disk.close()
      throw ServiceError("The witness \(path) was cut short. Remove it: a majority of the pool's disks decides then.")
    }
    return OpenWitness(path: path, disk: disk, witness: Witness(device: disk))
  }

  private func make(_ path: String) async throws(ServiceError) {
    let directory = directory
    let failure = await blocking.perform { () -> String? in
      if mkdir(directory, 0o700) != 0 && clinux_errno() != EEXIST { return lastSystemError() }
      // Under another name first: a file that is cut short by a crash must not pass for a witness.
      let temporary = path + ".tmp"
      let descriptor = clinux_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else { return lastSystemError() }
      defer { close(descriptor) }
      let zeros = [UInt8](repeating: 0, count: ServiceLimits.witnessByteCount)
      guard write(descriptor, zeros, zeros.count) == zeros.count, fsync(descriptor) == 0, rename(temporary, path) == 0 else {
        return lastSystemError()
      }
      return WitnessFiles.synchronize(directory)
    }
    if let failure { throw cannot("be made", path, failure) }
  }

  /// - Returns: why it failed; nil when it did not.
  private static func synchronize(_ directory: String) -> String? {
    let descriptor = clinux_open(directory, O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { return lastSystemError() }
    defer { close(descriptor) }
    return fsync(descriptor) == 0 ? nil : lastSystemError()
  }

  private func cannot(_ what: String, _ path: String, _ reason: String) -> ServiceError {
    ServiceError("The witness \(path) cannot \(what): \(reason). Make room or repair the file system of the state directory.")
  }
}
