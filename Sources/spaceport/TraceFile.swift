import Glibc
import Management
import StorageBus

/// A block trace in a file, read in pieces, so that its length does not matter.
enum TraceFile {
  private static let pieceByteCount = 1 << 20

  /// - Parameter path: absolute.
  /// - Throws: `APIError` when the file can't be read, or says what is wrong in which line.
  static func run(path: String, _ body: (BlockTraceRequest) -> Void) throws(APIError) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw unreadable(path) }
    defer { close(descriptor) }
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: pieceByteCount, alignment: 16)
    defer { piece.deallocate() }
    var parser = BlockTraceParser()
    while true {
      let count = read(descriptor, piece.baseAddress, piece.count)
      guard count >= 0 else {
        if errno == EINTR { continue }
        throw unreadable(path)
      }
      do throws(BlockTraceError) {
        guard count > 0 else { return try parser.finish(body) }
        try parser.read(UnsafeRawBufferPointer(rebasing: piece[..<count]), body)
      } catch {
        throw APIError(.badRequest, "\(path), line \(error.line): \(error.problem)", remedy: error.remedy)
      }
    }
  }

  private static func unreadable(_ path: String) -> APIError {
    APIError(.ioError, "\(path) can't be read: \(String(cString: strerror(errno)))", remedy: "Check the path and its permissions")
  }
}
