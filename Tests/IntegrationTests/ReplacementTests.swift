import Foundation
import TestSupport
import Testing

/// The server is stopped in order and started again under a client that connects anew and sends again what was not answered: it loses nothing.
@Suite(.serialized) struct ReplacementTests {
  private static let replacements = 10
  private static let clients = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients").path

  /// Clients/reconnecting.py.
  private final class Client {
    let process = Process()
    let directory: TemporaryDirectory

    init(_ uri: String, mode: String) throws {
      directory = try TemporaryDirectory()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
      process.arguments = ["\(ReplacementTests.clients)/reconnecting.py", uri, directory.file("log"), mode]
      process.standardError = try directory.createFile("errors")
      try process.runWithoutBlockedSignals()
    }

    deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

    var log: [Substring] { directory.text("log").split(separator: "\n") }
    var batchCount: Int { log.count { $0.hasPrefix("batch") } }
    var lossCount: Int { log.count { $0 == "lost" } }

    func waitForBatches(_ count: Int) async throws {
      let wanted = batchCount + count
      try await waitUntil("the client to write") {
        if self.process.hasEnded { throw ProgramFailure(description: "the client ended: \(self.directory.text("errors"))") }
        return self.batchCount >= wanted
      }
    }

    /// Ends it: it reads all that it wrote.
    func finish() async throws {
      kill(process.processIdentifier, SIGTERM)
      try await waitUntil("the client to read all that it wrote") { !self.process.isRunning }
      try #require(process.terminationStatus == 0, "\(directory.text("errors"))")
      print("reconnecting client: \(log.last ?? ""), \(batchCount * 16) writes, \(lossCount) connections lost")
    }
  }

  @Test func onTheSamePath() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    let client = try Client(server.uri("tank/disk"), mode: "path")
    for _ in 1...Self.replacements {
      try await client.waitForBatches(20)
      try await server.stop()
      try await server.start()
    }
    try await client.waitForBatches(20)
    try await client.finish()
    #expect(client.lossCount >= Self.replacements)
    try await server.stop()
  }

  /// The sockets are a service manager's: nobody is refused, whoever connects meanwhile waits for the next server.
  @Test func onSocketsThatStay() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    try await server.stop()
    let (socket, pidFile) = (server.directory.file("kept.sock"), server.directory.file("pid"))
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
    holder.arguments = [
      "\(Self.clients)/socket_holder.py", socket, pidFile, SpaceportServer.binary, "serve", "--state-dir", server.stateDirectory,
      "--control", server.controlSocket,
    ]
    let log = try server.directory.createFile("holder")
    holder.standardOutput = log
    holder.standardError = log
    try holder.runWithoutBlockedSignals()
    var current: Int32? { Int32(server.directory.text("pid")) }
    defer {
      if holder.isRunning { kill(holder.processIdentifier, SIGKILL) }
      if let current { kill(current, SIGKILL) }
    }
    try await waitUntil("the first server") { current != nil }
    let client = try Client("nbd+unix:///tank/disk?socket=\(socket)", mode: "backlog")
    for round in 1...Self.replacements {
      try await client.waitForBatches(20)
      let old = try #require(current)
      kill(old, SIGTERM)
      try await waitUntil("server \(round + 1): \(server.directory.text("holder"))") {
        if holder.hasEnded { throw ProgramFailure(description: server.directory.text("holder")) }
        return current != nil && current != old
      }
    }
    try await client.waitForBatches(20)
    try await client.finish()
    #expect(client.lossCount >= Self.replacements)
    kill(holder.processIdentifier, SIGTERM)
    if let current { kill(current, SIGTERM) }
    try await waitUntil("the last server to end") { holder.hasEnded }
    holder.waitUntilExit()
    #expect(holder.terminationStatus == 0, "\(server.directory.text("holder"))")
  }

  /// qemu's own way to outlive a server.
  @Test func qemuWithAReconnectDelay() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "256MiB")
    let image = "driver=nbd,server.type=unix,server.path=\(server.nbdSocket),export=tank/disk,reconnect-delay=60"
    let bench = Process()
    bench.executableURL = URL(fileURLWithPath: try #require(Program.find("qemu-img")))
    // 12,800 writes of 16 KiB side by side are 200 MiB.
    bench.arguments = [
      "bench", "-w", "--pattern=0x5a", "-c", "12800", "-d", "8", "-s", "16384", "--flush-interval=64", "--image-opts", image,
    ]
    let log = try server.directory.createFile("bench")
    bench.standardOutput = log
    bench.standardError = log
    try bench.runWithoutBlockedSignals()
    defer { if bench.isRunning { kill(bench.processIdentifier, SIGKILL) } }
    var replacements = 0
    let deadline = ContinuousClock.now + .seconds(120)
    while replacements < 5 && !bench.hasEnded {
      let before = try await requestCount(server)
      try await waitUntil("qemu to go on") {
        if bench.hasEnded { return true }
        return try await self.requestCount(server) >= before + 200
      }
      if bench.hasEnded || ContinuousClock.now > deadline { break }
      try await server.stop()
      try await server.start()
      replacements += 1
    }
    try await waitUntil("qemu to end: \(server.directory.text("bench"))") { bench.hasEnded }
    bench.waitUntilExit()
    #expect(bench.terminationStatus == 0, "\(server.directory.text("bench"))")
    #expect(replacements >= 1, "qemu was done before the server was replaced")
    print("qemu-img bench outlived \(replacements) replacements")
    try await succeed("qemu-io", "-f", "raw", server.uri("tank/disk"), "-c", "read -P 0x5a 0 200M")
    try await server.stop()
  }

  private func requestCount(_ server: SpaceportServer) async throws -> Int {
    let stack = try await server.succeed("stack", "tank/disk", "--json")
    return stack.matches(of: #/"requests" : (\d+)/#).reduce(0) { $0 + (Int($1.1) ?? 0) }
  }
}
