import CLinux
import Pool

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What the server remembers of a pool between two starts. The paths are hints: a disk is known by what its superblock says.
struct KnownPool: Codable, Sendable, Equatable {
  var id: PoolID
  var name: String
  var diskPaths: [String]
  /// Disks that were seen to lose what was on them (a file that was cut or deleted): whatever they say, they are not taken back.
  var distrusted: [DiskID]?
}

/// The pools that are opened at start, in one file of the state directory. The file is replaced as a whole and synchronised, so that a crash
/// leaves the old list or the new one. A lock on the directory keeps a second server out.
struct PoolRegistry {
  private struct Content: Codable {
    /// Raised when an older program could not read the file.
    var version = 1
    var pools: [KnownPool] = []
  }

  let directory: String
  private let lockDescriptor: Int32
  private(set) var pools: [KnownPool]

  private static let fileName = "pools.json"

  /// Makes the directory if need be, locks it and reads the list.
  init(directory: String) throws(ServiceError) {
    self.directory = directory
    do {
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw ServiceError("The state directory \(directory) cannot be made: \(error). Give another one with --state-dir.")
    }
    lockDescriptor = clinux_open(directory, O_RDONLY | O_CLOEXEC, 0)
    guard lockDescriptor >= 0 else {
      throw ServiceError("The state directory \(directory) cannot be opened: \(lastSystemError()). Give another one with --state-dir.")
    }
    guard flock(lockDescriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(lockDescriptor)
      throw ServiceError("Another server uses the state directory \(directory). Stop it, or give another one with --state-dir.")
    }
    let path = directory + "/" + PoolRegistry.fileName
    guard let data = FileManager.default.contents(atPath: path) else {
      pools = []
      return
    }
    do { pools = try JSONDecoder().decode(Content.self, from: data).pools } catch {
      close(lockDescriptor)
      throw ServiceError(
        "\(path) cannot be read: \(error). Move it away and open the pools again with `spaceport pool open`; nothing on the disks is touched."
      )
    }
  }

  /// Ends the lock.
  func release() { close(lockDescriptor) }

  mutating func remember(_ pool: KnownPool) throws(ServiceError) {
    var changed = pools.filter { $0.id != pool.id }
    changed.append(pool)
    try store(changed)
  }

  mutating func forget(_ id: PoolID) throws(ServiceError) { try store(pools.filter { $0.id != id }) }

  private mutating func store(_ changed: [KnownPool]) throws(ServiceError) {
    if changed == pools { return }
    let path = directory + "/" + PoolRegistry.fileName
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    do {
      try writeDurably(Array(encoder.encode(Content(pools: changed))), to: path)
    } catch {
      throw ServiceError("\(path) cannot be written: \(error). Make room or repair the file system; the pools themselves are not affected.")
    }
    pools = changed
  }

  /// Writes a new file, synchronises it, puts it in the old one's place and synchronises the directory.
  private func writeDurably(_ bytes: [UInt8], to path: String) throws(ServiceError) {
    let temporary = path + ".new"
    let descriptor = clinux_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw ServiceError(lastSystemError()) }
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, $0.count - done) }
      guard count > 0 else { throw ServiceError(lastSystemError()) }
      done += count
    }
    guard fsync(descriptor) == 0, rename(temporary, path) == 0, fsync(lockDescriptor) == 0 else { throw ServiceError(lastSystemError()) }
  }
}

/// What the service could not do, for whom no object is concerned: a whole sentence with its remedy.
public struct ServiceError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}

func lastSystemError() -> String { String(cString: strerror(clinux_errno())) }
