import Foundation
import TestSupport
import Testing

/// Hostile clients of one virtual disk beside a client of another whose fio verifies all that it writes: that one goes on undisturbed, and when
/// they are gone nothing of them is left.
@Suite(.serialized) struct HostileClientTests {
  /// What the verifying client keeps at least, of its throughput beside honest clients that ask for as much as they can. These take the same
  /// processor time and the same server as the attackers do, so what is missing then is what being hostile has won.
  private static let leastFraction = 1.0 / 2
  /// What the server may have grown by afterwards. Warm memory of some hundred connections, heap that is not given back, and in the large buffers of
  /// the last minute. Bytes.
  private static let mostGrowth = 96 << 20

  @Test(arguments: [
    "slow_handshakes", "silent_crowd", "half_closed", "connects", "edges", "options", "mid_payload", "hoarders", "greedy",
    "long_ranges",
  ])
  func anotherClientGoesOn(attack: String) async throws {
    let server = try SpaceportServer()
    // Without a cache CACHE does nothing.
    try await server.start(extraArguments: attack == "long_ranges" ? ["--cache-memory", "64MiB"] : [])
    try await server.makePool(disks: 2)
    // A thin one costs nothing; to look through it does.
    let attacked = attack == "long_ranges" ? "1TiB" : "64MiB"
    try await server.succeed("vdisk", "create", "tank/disk", "--size", "64MiB")
    try await server.succeed("vdisk", "create", "tank/other", "--size", attacked)
    try await attackAndCheck(server, attack, on: "unix:\(server.nbdSocket)")
    try await server.stop()
  }

  @Test(arguments: ["tls", "slow_handshakes", "connects"]) func anotherClientGoesOnWhereTLSIsOffered(attack: String) async throws {
    let server = try SpaceportServer()
    let keys = server.directory.file("keys.psk")
    try await succeed("psktool", "--username", "alice", "--pskfile", keys)
    try await server.start(extraArguments: ["--listen", "tcp:127.0.0.1:0", "--tls", "offer", "--tls-psk", keys])
    try await server.makePool(disks: 2)
    for name in ["disk", "other"] { try await server.succeed("vdisk", "create", "tank/\(name)", "--size", "64MiB") }
    let tcp = try #require(try await server.succeed("status", "--json").firstMatch(of: #/tcp:127\.0\.0\.1:\d+/#)?.0)
    try await attackAndCheck(server, attack, on: String(tcp))
    // One that does it right.
    let address = tcp.dropFirst(4)
    try await succeed("nbdinfo", "--size", "nbds://alice@\(address)/tank/other?tls-psk-file=\(keys)")
    try await server.stop()
  }

  private func attackAndCheck(_ server: SpaceportServer, _ attack: String, on place: String) async throws {
    // The first round makes what later ones find there.
    _ = try await round(server)
    let alone = try await round(server)
    let beside = try await besideHonestClients(server)
    let sockets = try socketCount(server)
    let memory = try server.residentByteCount
    let hostile = try HostileClient(attack, on: place, export: "tank/other")
    var during: [Double] = []
    let deadline = ContinuousClock.now + .seconds(150)
    while during.count < 2 || !hostile.isGoing {
      try hostile.checkRunning()
      try #require(ContinuousClock.now < deadline, "\(attack) does not come to what it is for")
      during.append(try await round(server))
    }
    let deed = try await hostile.stop()
    let worst = during.min() ?? 0
    print(
      "\(deed). Verified MiB/s: \(alone.shown) alone, \(beside.shown) beside honest clients, "
        + "\(during.map(\.shown).joined(separator: " ")) beside it")
    #expect(worst >= beside * Self.leastFraction, "another client hardly went on beside \(attack)")
    // Nothing of it is left, and the server serves.
    try await waitUntil(timeoutSeconds: 90, "the connections of \(attack) to be gone") { try self.socketCount(server) <= sockets }
    try await waitUntil("the requests of \(attack) to be done") { try await self.inFlight(server) == 0 }
    try await waitUntil("the memory of \(attack) to be given back, \((try? server.residentByteCount) ?? 0) bytes of \(memory)") {
      try server.residentByteCount <= memory + Self.mostGrowth
    }
    print("resident memory: \(memory >> 20) MiB before \(attack), \(try server.residentByteCount >> 20) MiB after it")
    _ = try await round(server)
    try await succeed("nbdinfo", "--size", server.uri("tank/other"))
  }

  /// The worst of three rounds while honest clients write and read all they can on the other virtual disk.
  private func besideHonestClients(_ server: SpaceportServer) async throws -> Double {
    let honest = Process()
    honest.executableURL = URL(fileURLWithPath: "/usr/bin/fio")
    honest.arguments = [
      "--name=honest", "--ioengine=nbd", "--uri=\(server.uri("tank/other"))", "--rw=randrw", "--bs=64k", "--size=64M", "--iodepth=32",
      "--numjobs=4", "--thread", "--time_based", "--runtime=600",
    ]
    honest.currentDirectoryURL = URL(fileURLWithPath: server.directory.path)
    honest.standardInput = FileHandle.nullDevice
    honest.standardOutput = try server.directory.createFile("honest")
    honest.standardError = try server.directory.createFile("honest-errors")
    try honest.runWithoutBlockedSignals()
    defer { if honest.isRunning { kill(honest.processIdentifier, SIGKILL) } }
    try await waitUntil("the honest clients to be at work") { try await self.inFlight(server) > 0 }
    var rounds: [Double] = []
    for _ in 1...3 { rounds.append(try await round(server)) }
    try #require(!honest.hasEnded, "the honest clients ended: \(server.directory.text("honest-errors"))")
    kill(honest.processIdentifier, SIGTERM)
    try await waitUntil("the honest clients to end") { !honest.isRunning }
    try await waitUntil("their requests to be done") { try await self.inFlight(server) == 0 }
    return rounds.min() ?? 0
  }

  /// fio writes 24 MiB and verifies them; MiB of both a second.
  private func round(_ server: SpaceportServer) async throws -> Double {
    let start = ContinuousClock.now
    let result: ProgramResult
    do {
      result = try await Program.run(
        [
          "fio", "--name=verify", "--ioengine=nbd", "--uri=\(server.uri("tank/disk"))", "--rw=randwrite", "--bs=16k", "--size=24M",
          "--iodepth=8", "--fsync=64", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1",
        ], directory: server.directory.path, timeoutSeconds: 120)
    } catch {
      // Where its requests are.
      print(try await server.succeed("stack", "tank/disk"))
      throw error
    }
    try #require(result.succeeded, "fio: \(result.text)\nThe server's log: \(server.log)")
    return 48 / ((ContinuousClock.now - start) / .seconds(1))
  }

  private func socketCount(_ server: SpaceportServer) throws -> Int {
    let place = "/proc/\(server.processID)/fd"
    return try FileManager.default.contentsOfDirectory(atPath: place)
      .count { (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(place)/\($0)").hasPrefix("socket:")) == true }
  }

  private func inFlight(_ server: SpaceportServer) async throws -> Int {
    let stack = try await server.succeed("stack", "tank/other", "--json")
    return stack.matches(of: #/"inFlight" : (\d+)/#).reduce(0) { $0 + (Int($1.1) ?? 0) }
  }
}

extension Double {
  fileprivate var shown: String { String(format: "%.1f", self) }
}

extension SpaceportServer {
  /// Of the server's process. Bytes.
  var residentByteCount: Int {
    get throws {
      let status = try String(contentsOfFile: "/proc/\(processID)/status", encoding: .utf8)
      guard let match = status.firstMatch(of: #/VmRSS:\s+(\d+) kB/#), let count = Int(match.1) else {
        throw ProgramFailure(description: "no VmRSS in \(status)")
      }
      return count << 10
    }
  }
}
