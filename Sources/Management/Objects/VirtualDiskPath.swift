/// How a virtual disk is addressed: `POOL/NAME`, which is its NBD export name too.
public struct VirtualDiskPath: Sendable, Hashable, CustomStringConvertible {
  public var pool: String
  public var name: String

  public init(pool: String, name: String) {
    self.pool = pool
    self.name = name
  }

  /// - Throws: `APIError` with code `badRequest` unless the text has two parts, neither empty, around exactly one slash.
  public init(parsing text: String) throws(APIError) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
      throw APIError(.badRequest, "\"\(text)\" does not name a virtual disk", remedy: "Name it POOL/NAME, for example tank/data")
    }
    self.init(pool: String(parts[0]), name: String(parts[1]))
  }

  public var description: String { "\(pool)/\(name)" }
}
