import BlockDevice
import CLinux
import Logging
import Reactor
import Testing

@testable import NBDServer

/// The tests that talk to a server over sockets, one after the other: their blocking clients would take every thread that tests have.
@Suite(.serialized) enum ServerTests {}

/// A running server over TestDevices, for the length of one test.
final class ServerHarness: @unchecked Sendable {  // its reactor-confined parts are reached through `on`
  let reactor: RingReactor
  let directory: TestDirectory
  let device: TestDevice
  let server: NBDServer
  let socketPath: String
  let tcpAddress: ListenAddress

  /// Nobody listens there.
  struct Gone: Error {}

  static let exportByteCount = 1 << 20

  private init(limits: NBDLimits, byteCount: Int, tls: TLSConfiguration?) async throws {
    let reactor = try RingReactor.start(name: "nbd-test")
    let directory = TestDirectory()
    let device = TestDevice(reactor: reactor, byteCount: byteCount)
    directory.devices = [("disk", device)]
    var logger = Logger(label: "nbd-test")
    logger.logLevel = .critical
    self.reactor = reactor
    self.directory = directory
    self.device = device
    let context = try tls.map { try TLSContext($0, logger: logger) }
    server = NBDServer(reactor: reactor, directory: directory, tls: context, limits: limits, logger: logger)
    socketPath = "/tmp/spaceport-nbd-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    let bound = try await server.start(listeners: [.unix(path: socketPath), .tcp(host: "127.0.0.1", port: 0)])
    tcpAddress = bound[1]
  }

  /// Runs `body` with a server, then stops it and checks that nothing was left behind.
  static func run(
    limits: NBDLimits = .standard, byteCount: Int = exportByteCount, tls: TLSConfiguration? = nil,
    _ body: (ServerHarness) async throws -> Void
  ) async throws {
    let harness = try await ServerHarness(limits: limits, byteCount: byteCount, tls: tls)
    do { try await body(harness) } catch {
      await harness.end()
      throw error
    }
    await harness.end()
  }

  private func end() async {
    await on {
      $0.device.openGate()
      $0.directory.openGate()
    }
    #expect(await server.stop() == 0)
    #expect(await on { $0.directory.openCount } == 0)
    reactor.stop()
  }

  /// Runs `body` on the reactor.
  func on<Value: Sendable>(_ body: @escaping @Sendable (ServerHarness) -> Value) async -> Value {
    await reactor.run { [self] () async -> Value in body(self) }
  }

  /// Waits for `condition`, looked at on the reactor; fails the test when it does not come.
  func until(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation, _ condition: @escaping @Sendable (ServerHarness) -> Bool
  ) async {
    for _ in 0..<4000 {
      if await on(condition) { return }
      await reactor.run { [reactor] () async in await reactor.sleep(milliseconds: 5) }
    }
    Issue.record(what, sourceLocation: sourceLocation)
  }

  /// A client on the Unix socket.
  func connect() throws -> RawClient {
    let descriptor = socket(AF_UNIX, CLinuxSocket.stream, 0)
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: socketPath.utf8) }
    let result = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        CLinux.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if result != 0 {
      _ = close(descriptor)
      throw Gone()
    }
    return RawClient(descriptor: descriptor)
  }

  func connectTCP() throws -> RawClient {
    guard case .tcp(_, let port) = tcpAddress else { throw Gone() }
    let descriptor = socket(AF_INET, CLinuxSocket.stream, 0)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        CLinux.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if result != 0 {
      _ = close(descriptor)
      throw Gone()
    }
    return RawClient(descriptor: descriptor)
  }

  /// A client in the transmission phase.
  func enter(_ name: String = "disk") throws -> RawClient {
    let client = try connect()
    try client.enter(name)
    return client
  }
}
