import Glibc

/// Groups of this machine, as options name them.
public enum UnixGroup {
  /// - Parameter name: a name or a number.
  /// - Throws: `APIError` when there is no group of that name.
  public static func number(of name: String) throws(APIError) -> UInt32 {
    // The highest number tells chown(2) to change nothing.
    if let number = UInt32(name), number != .max { return number }
    guard let entry = getgrnam(name) else {
      throw APIError(.notFound, "There is no group \"\(name)\" on this machine", remedy: "Make it with groupadd, or name another")
    }
    return entry.pointee.gr_gid
  }
}
