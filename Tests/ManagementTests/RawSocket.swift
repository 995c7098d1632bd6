import Foundation

/// A Unix socket without any HTTP of ours on it.
enum RawSocket {
  private static func address(_ path: String) -> sockaddr_un {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return address
  }

  private static func call(
    _ function: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32, _ descriptor: Int32, _ path: String
  ) throws {
    var address = address(path)
    let outcome = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { function(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
    if outcome != 0 { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
  }

  /// A bound socket; it is listened to when `listens` says so. To be closed by the caller.
  static func bind(_ path: String, listens: Bool) throws -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    try call(Foundation.bind, descriptor, path)
    if listens { guard listen(descriptor, 4) == 0 else { throw POSIXError(.EIO) } }
    return descriptor
  }

  /// Sends a text, and returns what comes back up to a word or the connection's end, waiting at most 10 s for each part.
  static func exchange(_ path: String, _ text: String, untilReceived word: String) async throws -> String {
    // On a thread of its own: what blocks one of the few that tasks run on keeps the server from running.
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread {
        continuation.resume(with: Result { try exchangeBlocking(path, text, untilReceived: word) })
      }
    }
  }

  private static func exchangeBlocking(_ path: String, _ text: String, untilReceived word: String) throws -> String {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    try call(Foundation.connect, descriptor, path)
    _ = text.withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
    return receive(descriptor, until: word)
  }

  /// Accepts one connection, waits for its request, and answers with a text.
  static func answerOnce(_ listener: Int32, _ text: String) {
    let descriptor = accept(listener, nil, nil)
    defer { close(descriptor) }
    _ = receive(descriptor, until: "\r\n\r\n")
    _ = text.withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
  }

  private static func receive(_ descriptor: Int32, until word: String) -> String {
    var received: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count <= 0 { break }
      received += buffer.prefix(count)
      if String(decoding: received, as: UTF8.self).contains(word) { break }
    }
    return String(decoding: received, as: UTF8.self)
  }
}
