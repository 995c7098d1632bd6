/// Something that happened to a pool.
public struct EventInfo: Codable, Sendable, Equatable {
  public var pool: String
  /// Counted up within the pool.
  public var number: UInt64
  /// Seconds since 1970, UTC; 0 when the time was not known.
  public var seconds: UInt64
  public var severity: Severity
  /// A short word for programs: `diskEvicted`.
  public var name: String
  /// The path of the disk it happened to, or its number where the path is forgotten; nil for none.
  public var disk: String?
  /// What happened, to what, and what to do next.
  public var message: String

  public init(
    pool: String, number: UInt64, seconds: UInt64, severity: Severity, name: String, disk: String? = nil, message: String
  ) {
    self.pool = pool
    self.number = number
    self.seconds = seconds
    self.severity = severity
    self.name = name
    self.disk = disk
    self.message = message
  }

  public struct Severity: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let information = Severity(rawValue: "information")
    public static let warning = Severity(rawValue: "warning")
    public static let error = Severity(rawValue: "error")
  }
}
