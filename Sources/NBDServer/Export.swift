import BlockDevice

/// What the server can serve: the border to who knows pools and virtual disks. Called on the reactor.
public protocol ExportDirectory: AnyObject, Sendable {
  /// For LIST: those that this client may open, some at a time, until `send` returns false. Names longer than 4096 bytes are left out of the answer.
  func listExports(for client: ClientIdentity, _ send: ([String]) async -> Bool) async

  /// What INFO tells, without opening anything. The empty name is the default export, if the directory has one.
  func describeExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> ExportDescription

  /// Opens the export for I/O: called once a client has asked for it, never before.
  func openExport(named name: String, for client: ClientIdentity) async throws(ExportError) -> any Export
}

/// An export as one client has it open.
public protocol Export: AnyObject, Sendable {
  /// The canonical name, also when the client asked for the default export.
  var name: String { get }
  /// A line for people.
  var description: String { get }
  var device: BlockDevice { get }
  /// True when this client may not write, whatever the device could.
  var isReadOnly: Bool { get }
  /// What this client's requests carry down the stack; the server fills in the flags.
  var requestTemplate: IORequest { get }

  /// It can be had no more, or no more by this client, or not in the way that it was told: who has it open is sent away
  /// (`NBDServer.endSessions(of:)`, `NBDServer.endWithdrawnSessions`).
  var isWithdrawn: Bool { get }

  /// The client is gone and its last request is done. Called once.
  func close()
}

extension Export {
  public var requestTemplate: IORequest { IORequest() }
  public var isWithdrawn: Bool { false }

  var exportDescription: ExportDescription {
    ExportDescription(name: name, description: description, geometry: device.geometry, isReadOnly: isReadOnly)
  }
}

/// What a client is told of an export.
public struct ExportDescription: Sendable {
  public var name: String
  public var description: String
  public var geometry: BlockGeometry
  public var isReadOnly: Bool

  public init(name: String, description: String, geometry: BlockGeometry, isReadOnly: Bool = false) {
    self.name = name
    self.description = description
    self.geometry = geometry
    self.isReadOnly = isReadOnly
  }

  /// Powers of two, as the protocol wants them. Who has not asked for them is served smaller requests than the minimum all the same.
  var minimumBlockByteCount: Int { min(powerOfTwo(notAbove: geometry.logicalSector), WireLimits.minimumBlockByteCount) }

  var preferredBlockByteCount: Int {
    let largest = max(4096, geometry.physicalSector, geometry.optimalByteCount, minimumBlockByteCount)
    return min(powerOfTwo(notAbove: largest), Int(WireLimits.payloadByteCount))
  }

  private func powerOfTwo(notAbove value: Int) -> Int {
    value < 1 ? 1 : 1 << (Int.bitWidth - 1 - value.leadingZeroBitCount)
  }
}

/// Why an export cannot be had. The message is sent to the client: it says what to do, and nothing of other exports.
public struct ExportError: Error, Sendable, CustomStringConvertible {
  public enum Reason: Sendable {
    /// There is no such export.
    case unknown
    /// There is, but not for this client.
    case denied
    /// There is, but it cannot be opened now.
    case unavailable
    /// There is, but not for a client in the clear: it may be let in once TLS has shown who it is.
    case tlsRequired
    case shuttingDown
  }

  public let reason: Reason
  public let description: String

  public init(_ reason: Reason, _ message: String) {
    self.reason = reason
    description = message
  }

  var replyType: OptionReplyType {
    switch reason {
    case .unknown: .errorUnknown
    case .denied: .errorPolicy
    case .tlsRequired: .errorTLSRequired
    case .unavailable: .errorPlatform
    case .shuttingDown: .errorShutdown
    }
  }
}
