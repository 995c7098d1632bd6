import ArgumentParser
import Logging
import Management
import NBDServer
import Service
import StorageBus

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension Logger.Level: @retroactive ExpressibleByArgument {}

/// What the server is told at its start. All paths are absolute.
struct ServeConfiguration: Sendable, Equatable {
  var stateDirectory: String
  /// nil for none.
  var controlSocket: String?
  var controlGroup: String?
  var listeners: [ListenAddress]
  /// Who may connect to the Unix sockets among them.
  var listenGroup: String?
  /// A connected socket, whose client is the only one.
  var clientDescriptor: Int32?
  var throwAwayByteCount: UInt64?
  var tls: TLSConfiguration?
  var logLevel: Logger.Level
  var tuning = ServiceTuning()
}

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the server in the foreground until SIGTERM or SIGINT.")

  @Option(help: ArgumentHelp("Where the server remembers its pools; made if it is missing.", valueName: "dir"))
  var stateDir: String?

  @Option(help: ArgumentHelp("The control socket; else the variable SPACEPORT_CONTROL, else the default.", valueName: "socket"))
  var control: String?

  @Option(
    help: ArgumentHelp(
      "Where to serve NBD, unix:PATH or tcp:HOST:PORT; may be repeated. Where it is given, the default Unix socket is not served by itself.",
      valueName: "address"),
    transform: Parse.listenAddress)
  var listen: [ListenAddress] = []

  @Option(
    help: ArgumentHelp(
      "The group whose members may connect to the Unix sockets of NBD beside root and this user; else none may.", valueName: "group"))
  var listenGroup: String?

  @Option(
    help: ArgumentHelp("The group whose members may use the control socket beside root and this user; else none may.", valueName: "group"))
  var controlGroup: String?

  @OptionGroup var tls: TLSOptions

  @OptionGroup var single: SingleClientOptions

  @Option(help: "The least important messages that are logged.")
  var logLevel: Logger.Level = .info

  @Option(
    help: ArgumentHelp("How long a disk may be away before its copies are made anew on others.", valueName: "seconds"))
  var repairDelay: UInt64 = 300

  @Option(
    help: ArgumentHelp("How much of the time background work takes while clients are at work, in per cent.", valueName: "percent"))
  var jobShare: Int = 20

  @Option(
    help: ArgumentHelp(
      "Memory of the read cache, taken and locked at the start; else none. A client's own page cache lies above it.", valueName: "size"),
    transform: Parse.size)
  var cacheMemory: ByteSize?

  @Option(
    help: ArgumentHelp("Pages of the read cache: 4KiB, 8KiB, 16KiB, 32KiB or 64KiB; else 16KiB.", valueName: "size"),
    transform: Parse.size)
  var cachePageSize: ByteSize?

  @Option(help: ArgumentHelp("How long a pool waits for missing disks at start; else 30.", valueName: "seconds", visibility: .hidden))
  var diskWait: UInt64 = 30

  func validate() throws {
    if single.throwAway != nil && stateDir != nil {
      throw ValidationError("--throw-away makes a pool of its own and remembers nothing. Leave out --state-dir.")
    }
    if !(1...100).contains(jobShare) { throw ValidationError("--job-share \(jobShare) is out of range. Give 1 to 100.") }
    if let cachePageSize, !CacheLimits.pageByteCounts.contains(Int(clamping: cachePageSize.byteCount)) {
      throw ValidationError("--cache-page-size \(cachePageSize) is none of the sizes there are. Give 4KiB, 8KiB, 16KiB, 32KiB or 64KiB.")
    }
    if let cacheMemory, cacheMemory.byteCount > Self.mostCacheByteCount {
      throw ValidationError(
        "--cache-memory \(cacheMemory) is more than three quarters of the memory that the machine, or its control group, has. Give at most "
          + "\(ByteSize(byteCount: Self.mostCacheByteCount)).")
    }
    if let cacheMemory, cacheMemory.byteCount > 0 && cacheMemory.byteCount < pageByteCount {
      throw ValidationError("--cache-memory \(cacheMemory) is less than one page of the cache. Give more, or leave it out for no cache.")
    }
    for seconds in [repairDelay, diskWait] where seconds > Self.longestDelaySeconds {
      throw ValidationError("\(seconds) seconds are more than a year. Give less.")
    }
  }

  private var pageByteCount: UInt64 { cachePageSize?.byteCount ?? UInt64(CacheLimits.pageByteCount) }
  private static let mostCacheByteCount = MachineMemory().byteCount / 4 * 3
  private static let longestDelaySeconds: UInt64 = 365 * 86_400

  func run() async throws {
    let paths = DefaultPaths.current
    let handedOver = try HandedOver.take()
    var configuration = try resolve(paths)
    if !handedOver.sockets.isEmpty && listen.isEmpty { configuration.listeners = [] }
    if let path = try handedOver.controlPath() { configuration.controlSocket = path }
    try configuration.checkSockets(inheritedCount: handedOver.sockets.count)
    // Only the default place is made; a directory that was named and doesn't exist is more likely a slip.
    if usesRuntimeDirectory(configuration, paths) { try paths.prepareRuntimeDirectory() }
    if configuration.throwAwayByteCount == nil { try Directories.create(configuration.stateDirectory, mode: 0o700) }
    try await runServer(configuration: configuration, handedOver)
  }

  /// The options with the defaults filled in.
  func resolve(_ paths: DefaultPaths) throws(APIError) -> ServeConfiguration {
    var listeners: [ListenAddress] = []
    for address in listen {
      if case .unix(let path) = address {
        listeners.append(.unix(path: try Paths.absolute(path)))
      } else {
        listeners.append(address)
      }
    }
    let isThrownAway = single.throwAway != nil
    let stateDirectory = if isThrownAway { "/" } else if let stateDir { stateDir } else { try paths.stateDirectory() }
    // Who serves one client, or for a test, is not told what to do by default: there may be many at the same time.
    let isAlone = isThrownAway || single.inetd
    let controlSocket = isAlone && control == nil ? nil : try Paths.absolute(paths.controlSocket(option: control))
    return ServeConfiguration(
      stateDirectory: try Paths.absolute(stateDirectory), controlSocket: controlSocket, controlGroup: controlGroup,
      listeners: listeners.isEmpty && !isAlone ? [.unix(path: paths.nbdSocket)] : listeners, listenGroup: listenGroup,
      clientDescriptor: single.inetd ? single.fd : nil, throwAwayByteCount: single.throwAway?.byteCount, tls: try tls.configuration(),
      logLevel: logLevel,
      tuning: ServiceTuning(
        diskWaitMilliseconds: diskWait * 1000, repairDelayMilliseconds: repairDelay * 1000, jobSharePercent: jobShare,
        cacheByteCount: cacheMemory?.byteCount ?? 0, cachePageByteCount: Int(clamping: pageByteCount)))
  }

  private func usesRuntimeDirectory(_ configuration: ServeConfiguration, _ paths: DefaultPaths) -> Bool {
    configuration.controlSocket == paths.controlSocket || configuration.listeners.contains(.unix(path: paths.nbdSocket))
  }
}

extension ServeConfiguration {
  /// - Parameter inheritedCount: NBD sockets that a service manager has handed over.
  /// - Throws: when nobody could reach the server, or an option is about a socket that there is not.
  func checkSockets(inheritedCount: Int) throws(APIError) {
    if throwAwayByteCount != nil && listeners.isEmpty && clientDescriptor == nil && inheritedCount == 0 {
      throw APIError(
        .badRequest, "--throw-away has no socket to serve its virtual disk on",
        remedy: "Give --listen ADDRESS or --inetd, or start it by socket activation (LISTEN_FDS)")
    }
    if controlGroup != nil && controlSocket == nil {
      throw APIError(
        .badRequest, "--control-group is about the control socket, and there is none", remedy: "Give --control SOCKET, or leave it out")
    }
    let hasUnixSocket = listeners.contains { if case .unix = $0 { true } else { false } }
    if listenGroup != nil && !hasUnixSocket {
      throw APIError(
        .badRequest, "--listen-group is about Unix sockets that the server makes, and it makes none",
        remedy: "Give --listen unix:PATH, or leave it out; the mode of a socket unit's sockets is SocketMode= and SocketGroup= there")
    }
  }
}
