import Foundation

/// A directory that is removed with its last reference.
public final class TemporaryDirectory: Sendable {
  public let path: String

  /// On the disk's file system, not on tmpfs, unless `parent` says otherwise: O_DIRECT and fallocate are to be the real ones. Short, for
  /// the paths of sockets.
  public init(under parent: String = "/var/tmp") throws {
    path = "\(parent)/spaceport-\(UUID().uuidString.prefix(13))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  public func file(_ name: String) -> String { "\(path)/\(name)" }

  public func createFile(_ name: String) throws -> FileHandle {
    _ = FileManager.default.createFile(atPath: file(name), contents: nil)
    guard let handle = FileHandle(forWritingAtPath: file(name)) else { throw ProgramFailure(description: "cannot create \(file(name))") }
    return handle
  }

  public func text(_ name: String) -> String {
    guard let data = FileManager.default.contents(atPath: file(name)) else { return "" }
    return String(decoding: data, as: UTF8.self)
  }

  /// The permission bits of what lies there.
  public func mode(of name: String) throws -> UInt32 {
    var information = stat()
    guard lstat(file(name), &information) == 0 else { throw ProgramFailure(description: "there is no \(file(name))") }
    return information.st_mode & 0o7777
  }

  /// A sparse file; its path.
  public func sparseFile(_ name: String = "disk", byteCount: UInt64) throws -> String {
    let handle = try createFile(name)
    try handle.truncate(atOffset: byteCount)
    try handle.close()
    return file(name)
  }
}
