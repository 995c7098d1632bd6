import Glibc
import Management
import Service

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A directory with a pool of one file, that is deleted at the end of the server.
struct ThrowAway: Sendable {
  let directory: String

  /// Under TMPDIR, else under /var/tmp, which is on a disk.
  static func make() throws(APIError) -> ThrowAway {
    let parent = ProcessInfo.processInfo.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/var/tmp"
    var template = Array("\(parent)/spaceport-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw APIError(
        .ioError, "No directory can be made under \(parent): \(String(cString: strerror(errno)))", remedy: "Set TMPDIR to another one")
    }
    return ThrowAway(directory: String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
  }

  /// Makes the pool and the virtual disk of this size, which is the default export.
  func fill(_ service: StorageService, byteCount: UInt64) async throws(APIError) {
    let path = "\(directory)/disk"
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    // Sparse: what the metadata needs beside the data costs nothing until it is written.
    let fileByteCount = byteCount + byteCount / 4 + Self.overheadByteCount
    defer { if descriptor >= 0 { close(descriptor) } }
    guard descriptor >= 0, ftruncate(descriptor, Int(clamping: fileByteCount)) == 0 else {
      throw APIError(.ioError, "\(path) cannot be made: \(String(cString: strerror(errno)))", remedy: "Set TMPDIR to another directory")
    }
    _ = try await service.createPool(CreatePool(name: "throwaway", disks: [path]))
    _ = try await service.createVirtualDisk(CreateVirtualDisk(pool: "throwaway", name: "disk", sizeBytes: byteCount))
  }

  /// For the metadata, and for slabs that are not full. Bytes.
  private static let overheadByteCount: UInt64 = 1 << 30

  func remove() { try? FileManager.default.removeItem(atPath: directory) }
}
