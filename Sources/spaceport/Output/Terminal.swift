import Management

import Glibc

/// Where a command's text goes.
enum Terminal {
  /// Writes a line, or several, to standard output. Unlike `print` it notices that the reader is gone or the disk is full, since a
  /// command whose output was lost must not end with status 0. A reader that has seen enough, such as `head`, has lost nothing.
  /// - Throws: `APIError` when not all of it could be written.
  static func write(_ text: String) throws(APIError) {
    let code = write(text, to: STDOUT_FILENO)
    guard code == 0 || code == EPIPE else {
      throw APIError(
        .ioError, "The output can't be written: \(String(cString: strerror(code)))", remedy: "Look at where standard output leads to")
    }
  }

  /// Writes a line, or several, to standard error. There is nowhere to report that this fails.
  static func writeError(_ text: String) {
    _ = write(text, to: STDERR_FILENO)
  }

  /// - Returns: 0, or the error number.
  private static func write(_ text: String, to descriptor: Int32) -> Int32 {
    var bytes = [UInt8](text.utf8)[...]
    if bytes.last != UInt8(ascii: "\n") { bytes.append(UInt8(ascii: "\n")) }
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.write(descriptor, buffer.baseAddress, buffer.count)
      }
      if count < 0 {
        if errno == EINTR { continue }
        return errno
      }
      bytes = bytes.dropFirst(count)
    }
    return 0
  }
}

/// Text that came from elsewhere (names, paths, messages) made harmless for a terminal.
enum Printable {
  /// Control characters are shown by their number, so that a file's name can't move the cursor or colour the screen.
  static func text(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var printable = ""
    for scalar in text.unicodeScalars {
      if isControl(scalar) {
        printable += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        printable.unicodeScalars.append(scalar)
      }
    }
    return printable
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
