/// What a running server says about itself.
public struct ServerStatus: Codable, Sendable, Equatable {
  /// The server's version.
  public var version: String
  /// The server's process id.
  public var processID: Int32
  /// How long the server has been running, in seconds.
  public var uptimeSeconds: Double
  /// Where NBD clients are served, in the spelling of `--listen`; a TCP port 0 is replaced by the port in use.
  public var listeners: [String]
  /// Whether clients may or must encrypt; nil where the server has no keys.
  public var tls: TLSMode?
  /// The directory in which the server remembers its pools.
  public var stateDirectory: String
  /// The names of the pools that serve.
  public var poolsReady: [String]
  /// The names of the pools that wait for disks.
  public var poolsStarting: [String]
  /// What the operator should know, a sentence each: buffered disks, missing privileges, TCP beyond loopback, what pools wait for,
  /// pools that fill up.
  public var warnings: [String]

  /// What the server asks of its clients.
  public struct TLSMode: OpenName {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let offered = TLSMode(rawValue: "offered")
    public static let required = TLSMode(rawValue: "required")
  }

  public init(
    version: String, processID: Int32, uptimeSeconds: Double, listeners: [String], tls: TLSMode? = nil, stateDirectory: String,
    poolsReady: [String], poolsStarting: [String], warnings: [String] = []
  ) {
    self.version = version
    self.processID = processID
    self.uptimeSeconds = uptimeSeconds
    self.listeners = listeners
    self.tls = tls
    self.stateDirectory = stateDirectory
    self.poolsReady = poolsReady
    self.poolsStarting = poolsStarting
    self.warnings = warnings
  }
}
