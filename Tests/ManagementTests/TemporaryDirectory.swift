import Foundation

/// A directory that goes with its owner.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    // Short, since sockets have to fit.
    var template = Array("/tmp/spXXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw POSIXError(.EIO) }
    path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func mode(of name: String) throws -> UInt32 {
    var information = stat()
    guard lstat(file(name), &information) == 0 else { throw POSIXError(.ENOENT) }
    return information.st_mode & 0o7777
  }
}
