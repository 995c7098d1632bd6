import CLinux

/// The file of pre-shared keys. GnuTLS reads it at each handshake, and refuses the client when it cannot; so that the operator learns of it
/// sooner, it is looked at once at the start.
enum PSKFile {
  /// - Throws: what is wrong with the file, with the line.
  static func check(_ path: String) throws(TLSError) {
    guard let text = contents(of: path) else {
      throw TLSError(
        "The file of pre-shared keys \(path) cannot be read: \(String(cString: strerror(clinux_errno()))). Make it with psktool.")
    }
    guard text.count <= TLSLimits.pskFileByteCount else {
      throw TLSError(
        "The file of pre-shared keys \(path) is longer than \(TLSLimits.pskFileByteCount) bytes. Keep the users that are still needed.")
    }
    try check(text, path: path)
  }

  static func check(_ bytes: [UInt8], path: String) throws(TLSError) {
    var keyCount = 0
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      if line.isEmpty || line.first == UInt8(ascii: "#") { continue }
      guard isKey(line) else {
        throw TLSError("Line \(index + 1) of \(path) is not USER:HEXKEY. Make the file with psktool --username USER --pskfile \(path).")
      }
      keyCount += 1
    }
    guard keyCount > 0 else {
      throw TLSError("\(path) has no pre-shared key. Make one with psktool --username USER --pskfile \(path).")
    }
  }

  /// A name, a colon, and an even number of hexadecimal digits.
  private static func isKey(_ line: ArraySlice<UInt8>) -> Bool {
    guard let colon = line.lastIndex(of: UInt8(ascii: ":")), colon > line.startIndex else { return false }
    let key = line[(colon + 1)...]
    return !key.isEmpty && key.count.isMultiple(of: 2) && key.allSatisfy { Character(UnicodeScalar($0)).isHexDigit && $0 < 0x80 }
  }

  /// nil when it cannot be read; of one that is too long no more than shows it.
  private static func contents(of path: String) -> [UInt8]? {
    let descriptor = clinux_open(path, O_RDONLY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { return nil }
    defer { _ = close(descriptor) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 4096)
    while bytes.count <= TLSLimits.pskFileByteCount {
      let count = read(descriptor, &piece, piece.count)
      if count < 0 { return nil }
      if count == 0 { break }
      bytes += piece[..<count]
    }
    return bytes
  }
}
