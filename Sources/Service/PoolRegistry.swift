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

/// The pools that are opened at start, in one file of the state directory.
struct PoolRegistry {
  private struct Content: Codable {
    /// Raised when an older program could not read the file.
    var version = 1
    var pools: [KnownPool] = []
  }

  let state: StateDirectory
  private(set) var pools: [KnownPool]

  private static let fileName = "pools.json"

  init(_ state: StateDirectory) throws(ServiceError) {
    self.state = state
    guard let data = try state.contents(of: PoolRegistry.fileName) else {
      pools = []
      return
    }
    do { pools = try JSONDecoder().decode(Content.self, from: data).pools } catch {
      throw ServiceError(
        "\(state.path)/\(PoolRegistry.fileName) cannot be read: \(error). Move it away and open the pools again with `spaceport pool open`; "
          + "nothing on the disks is touched.")
    }
  }

  var directory: String { state.path }

  mutating func remember(_ pool: KnownPool) throws(ServiceError) {
    var changed = pools.filter { $0.id != pool.id }
    changed.append(pool)
    try store(changed)
  }

  mutating func forget(_ id: PoolID) throws(ServiceError) { try store(pools.filter { $0.id != id }) }

  private mutating func store(_ changed: [KnownPool]) throws(ServiceError) {
    if changed == pools { return }
    try state.replace(PoolRegistry.fileName, with: Content(pools: changed))
    pools = changed
  }
}

/// What the service could not do, for whom no object is concerned: a whole sentence with its remedy.
public struct ServiceError: Error, CustomStringConvertible, Sendable {
  public let description: String
  init(_ description: String) { self.description = description }
}

func lastSystemError() -> String { String(cString: strerror(clinux_errno())) }
