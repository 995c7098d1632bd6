import BlockDevice
import Logging
import Reactor

/// One client, from its connecting to its leaving: a handshake, then a transmission, then an orderly end.
final class Connection: @unchecked Sendable {  // reactor-confined
  let number: UInt64
  let peer: String
  private let peerProcess: Int32?
  private var client: ClientIdentity
  private let reactor: RingReactor
  private let socket: ClientSocket
  private let directory: any ExportDirectory
  private let tls: TLSContext?
  private let limits: NBDLimits
  private let budget: InFlightBudget
  private let logger: Logger

  private(set) var exportName: String?
  private var transmission: Transmission?
  private var finishedRequestCount: UInt64 = 0
  private var isStopping = false
  /// The client gets time to read the last replies.
  private var isLingering = false
  private var isEvicted = false
  /// When the handshake, or at the end the lingering, has lasted long enough.
  private var phaseDeadline: Instant

  init(
    number: UInt64, peer: String, reactor: RingReactor, descriptor: Int32, directory: any ExportDirectory, tls: TLSContext?,
    limits: NBDLimits, budget: InFlightBudget, logger: Logger
  ) {
    self.number = number
    self.peer = peer
    client = ClientIdentity(origin: SocketOptions.origin(of: descriptor))
    peerProcess = SocketOptions.unixPeer(of: descriptor).map(\.pid)
    self.reactor = reactor
    self.directory = directory
    self.tls = tls
    self.limits = limits
    self.budget = budget
    self.logger = logger
    socket = ClientSocket(reactor: reactor, descriptor: descriptor)
    phaseDeadline = reactor.now.advanced(milliseconds: limits.handshakeMilliseconds)
  }

  /// Serves the client. When this returns its requests are done, its export is closed, and so is the socket.
  func run() async {
    var handshake = Handshake(socket: socket, directory: directory, client: client, tls: tls, limits: limits)
    let export = await handshake.run()
    client = handshake.client
    if let failure = handshake.failure { logger.info("TLS handshake failed", metadata: ["peer": "\(peer)", "reason": "\(failure)"]) }
    if export == nil, let refusal = handshake.refusal {
      var metadata: Logger.Metadata = ["peer": "\(peer)", "export": "\(refusal.export.logged)", "reason": "\(refusal.reason.logged)"]
      if let name = client.tls?.name { metadata["name"] = "\(name)" }
      logger.info("client left without an export", metadata: metadata)
    }
    if let export {
      phaseDeadline = .distantFuture
      if !isStopping && !export.isWithdrawn { await transmit(export, handshake.negotiated) }
      export.close()
    }
    phaseDeadline = reactor.now.advanced(milliseconds: limits.lingerMilliseconds)
    isLingering = true
    await socket.finish()
    socket.close()
  }

  private func transmit(_ export: any Export, _ negotiated: Negotiated) async {
    let transmission = Transmission(
      reactor: reactor, socket: socket, export: export, negotiated: negotiated, limits: limits, budget: budget)
    self.transmission = transmission
    exportName = export.name
    var metadata: Logger.Metadata = ["peer": "\(peer)", "export": "\(export.name)"]
    if let tls = client.tls { metadata["tls"] = "\(tls.cipher)" }
    if let name = client.tls?.name { metadata["name"] = "\(name)" }
    logger.info("client connected", metadata: metadata)
    let end = await transmission.run()
    finishedRequestCount = transmission.requestCount
    self.transmission = nil
    logger.info(
      "client left", metadata: ["peer": "\(peer)", "export": "\(export.name)", "end": "\(end)", "requests": "\(finishedRequestCount)"])
  }

  /// What was read is finished and answered, then the connection ends; a handshake ends at once.
  func stop() async {
    isStopping = true
    if let transmission { await transmission.stop() } else if !isLingering { socket.abort() }
  }

  /// Whether it is past its handshake and has this device open.
  func serves(_ device: BlockDevice) -> Bool { transmission?.device === device }

  /// Whether what it has open can be had no more, or not by this client, or not in this way.
  var hasLostItsExport: Bool { transmission?.export.isWithdrawn ?? false }

  var hasGivenMemoryBack: Bool { transmission?.hasGivenMemoryBack ?? false }

  /// Ends the stream now. What the device is doing for the client still goes on to its end, but for trims and zeroings of much.
  func abort() { if let transmission { transmission.abort() } else { socket.abort() } }

  /// It has nothing open, or no more, and was not yet told to go.
  var mayBeEvicted: Bool { transmission == nil && !isEvicted }

  /// Makes room for another client.
  func evict() {
    isEvicted = true
    socket.abort()
  }

  /// Looked at now and then: ends what has taken too long, and gives back what is not needed.
  /// - Parameter othersWait: for memory that this connection may hold.
  /// - Returns: slots given back.
  func look(at now: Instant, othersWait: Bool) -> Int {
    if phaseDeadline < now { abort() }
    guard let transmission else { return 0 }
    if transmission.isStalled(at: now) {
      cutOff("it neither sends what it began nor reads its replies")
    } else if othersWait && transmission.isSlow(at: now) {
      cutOff("it sends what it began, or reads its replies, too slowly while others wait")
    } else {
      return transmission.giveBackIdleMemory(at: now)
    }
    return 0
  }

  private func cutOff(_ reason: String) {
    if !socket.isShutDown { logger.warning("client cut off: \(reason)", metadata: ["peer": "\(peer)", "export": "\(exportName ?? "")"]) }
    abort()
  }

  var statistics: ConnectionStatistics {
    ConnectionStatistics(
      number: number, peer: peer, peerProcess: peerProcess, exportName: exportName, requestsInFlight: transmission?.inFlight ?? 0,
      bytesInFlight: transmission?.inFlightByteCount ?? 0, requests: transmission?.requestCount ?? finishedRequestCount,
      hasLeft: transmission?.hasReceivedAll ?? false)
  }
}

/// What one connection does at this moment.
public struct ConnectionStatistics: Sendable {
  /// Counted from 1 since the server's start.
  public var number: UInt64
  /// Address and port, or user and process of a Unix socket.
  public var peer: String
  /// Of a Unix socket: the process that connected, which may have handed its socket on (to the kernel) and ended. 0 where it is one of another
  /// process namespace; nil for TCP.
  public var peerProcess: Int32?
  /// nil until the handshake is over.
  public var exportName: String?
  public var requestsInFlight: Int
  public var bytesInFlight: Int
  public var requests: UInt64
  /// The client is gone; what it asked for is being finished.
  public var hasLeft: Bool
}

extension String {
  /// What a client has said, as it goes into a line of the log: nothing that does not print, and not too long.
  fileprivate var logged: String {
    let scalars = prefix(WireLimits.loggedTextCount).unicodeScalars.map { (scalar) -> Unicode.Scalar in
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator: "\u{FFFD}"
      default: scalar
      }
    }
    return String(String.UnicodeScalarView(scalars))
  }
}
