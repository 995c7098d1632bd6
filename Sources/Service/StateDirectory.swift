import CLinux

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The directory of the server's own files. A lock on it keeps a second server out; its files are replaced as a whole and synchronised, so that
/// a crash leaves the old one or the new one.
struct StateDirectory: Sendable {
  let path: String
  private let lockDescriptor: Int32

  /// Makes the directory if need be, and locks it.
  init(path: String) throws(ServiceError) {
    self.path = path
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw ServiceError("The state directory \(path) cannot be made: \(error). Give another one with --state-dir.")
    }
    lockDescriptor = clinux_open(path, O_RDONLY | O_CLOEXEC, 0)
    guard lockDescriptor >= 0 else {
      throw ServiceError("The state directory \(path) cannot be opened: \(lastSystemError()). Give another one with --state-dir.")
    }
    guard flock(lockDescriptor, LOCK_EX | LOCK_NB) == 0 else {
      close(lockDescriptor)
      throw ServiceError("Another server uses the state directory \(path). Stop it, or give another one with --state-dir.")
    }
  }

  /// Ends the lock.
  func release() { close(lockDescriptor) }

  /// nil when there is no such file. One that is there and cannot be read is an error.
  func contents(of name: String) throws(ServiceError) -> Data? {
    let file = "\(path)/\(name)"
    if let data = FileManager.default.contents(atPath: file) { return data }
    guard access(file, F_OK) != 0 && clinux_errno() == ENOENT else {
      throw ServiceError("\(file) cannot be read: \(lastSystemError()). Make it readable for this user.")
    }
    return nil
  }

  func replace(_ name: String, with content: some Encodable) throws(ServiceError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    do { try writeDurably(Array(encoder.encode(content)), to: "\(path)/\(name)") } catch {
      throw ServiceError(
        "\(path)/\(name) cannot be written: \(error). Make room or repair the file system; the pools themselves are not affected.")
    }
  }

  /// Writes a new file, synchronises it, puts it in the old one's place and synchronises the directory.
  private func writeDurably(_ bytes: [UInt8], to file: String) throws(ServiceError) {
    let temporary = file + ".new"
    let descriptor = clinux_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw ServiceError(lastSystemError()) }
    defer { close(descriptor) }
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, $0.count - done) }
      guard count > 0 else { throw ServiceError(lastSystemError()) }
      done += count
    }
    guard fsync(descriptor) == 0, rename(temporary, file) == 0, fsync(lockDescriptor) == 0 else { throw ServiceError(lastSystemError()) }
  }
}
