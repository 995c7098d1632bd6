import Glibc

/// Lines for people, written at once: what was said before a crash must not be lost in a buffer.
enum Output {
  static func say(_ text: String) { put(text + "\n", STDOUT_FILENO) }
  static func complain(_ text: String) { put("spaceport-sim: \(text)\n", STDERR_FILENO) }

  static func put(_ text: String, _ descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if written < 0 && errno == EINTR { continue }
      if written <= 0 { return }  // nobody listens
      rest = rest.dropFirst(written)
    }
  }
}
