import Foundation
import TestSupport
import Testing

/// The server started by libnbd, by systemd's own tool, and as a service that is watched.
@Suite(.serialized) struct StartedByOthersTests {
  private static let python = "/usr/bin/python3"

  private func nbdsh(_ script: String) async throws { try await succeed(Self.python, "-m", "nbd", "-c", script) }

  private static let use = """
    assert h.get_size() == 64 << 20
    h.pwrite(b"a" * 65536, 4096)
    h.flush()
    assert h.pread(65536, 4096) == b"a" * 65536
    assert h.pread(512, 0) == bytes(512)
    """

  private func leftovers(_ directory: TemporaryDirectory) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: directory.path).filter { $0.hasPrefix("spaceport-") }
  }

  @Test(arguments: ["connect_command", "connect_systemd_socket_activation"]) func byLibnbd(call: String) async throws {
    let place = try TemporaryDirectory()
    let inetd = call == "connect_command" ? "\"--inetd\", " : ""
    try await nbdsh(
      """
      import os
      os.environ["TMPDIR"] = "\(place.path)"
      h.\(call)(["\(SpaceportServer.binary)", "serve", \(inetd)"--throw-away", "64MiB"])
      \(Self.use)
      h.shutdown()
      """)
    try await waitUntil("the throw-away pool to be removed") { try self.leftovers(place).isEmpty }
  }

  @Test func aPoolCanBeServedToOneClient() async throws {
    let server = try SpaceportServer()
    try await server.start()
    try await server.makePool()
    try await server.succeed("vdisk", "create", "tank/data", "--size", "64MiB")
    try await server.stop()
    for expected in ["bytes(512)", "b'b' * 512"] {
      try await nbdsh(
        """
        h.set_export_name("tank/data")
        h.connect_command(["\(SpaceportServer.binary)", "serve", "--inetd", "--state-dir", "\(server.stateDirectory)"])
        assert h.pread(512, 0) == \(expected)
        h.pwrite(b"b" * 512, 0, nbd.CMD_FLAG_FUA)
        h.shutdown()
        """)
      // libnbd does not wait for the server, which still has the pool.
      try await waitUntil("the server to be gone") {
        try await Program.run(["flock", "--nonblock", server.stateDirectory, "true"]).succeeded
      }
    }
    try await server.start()
    #expect(try await server.succeed("status").contains("tank"))
    try await server.stop()
  }

  @Test func whatIsNoSocketIsRefused() async throws {
    let result = try await Program.run([SpaceportServer.binary, "serve", "--inetd", "--throw-away", "64MiB"])
    #expect(!result.succeeded && result.errors.contains("not a connected stream socket"))
  }

  @Test func bySystemdsActivation() async throws {
    let place = try TemporaryDirectory()
    let socket = place.file("nbd.sock")
    let process = Process()
    // The shell keeps what Foundation knows a process's end by: systemd's tool closes all that it does not know.
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = [
      "-c", "\"$@\" & echo $! > '\(place.file("pid"))'; wait $!", "sh", "/usr/bin/systemd-socket-activate", "--listen=\(socket)",
      "--fdname=nbd", SpaceportServer.binary, "serve", "--throw-away", "64MiB",
    ]
    process.environment = ProcessInfo.processInfo.environment.merging(["TMPDIR": place.path]) { $1 }
    process.standardInput = FileHandle.nullDevice
    let log = try place.createFile("log")
    process.standardError = log
    process.standardOutput = log
    try process.runWithoutBlockedSignals()
    var server: Int32 { Int32(place.text("pid").trimmingCharacters(in: .newlines)) ?? 0 }
    defer { if server > 0 && !process.hasEnded { kill(server, SIGKILL) } }
    try await waitUntil("the socket") { FileManager.default.fileExists(atPath: socket) }
    for _ in 0..<3 { #expect(try await succeed("nbdinfo", "--size", "nbd+unix:///?socket=\(socket)") == "67108864\n") }
    try #require(server > 0)
    kill(server, SIGTERM)
    try await waitUntil("the server to end") { process.hasEnded }
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(place.text("log"))")
    // The socket is systemd's.
    #expect(FileManager.default.fileExists(atPath: socket))
    #expect(try leftovers(place).isEmpty)
  }

  @Test func systemdsSocketsServeNBDAndTheControlSocketByTheirNames() async throws {
    let place = try TemporaryDirectory()
    let (nbd, control) = (place.file("nbd.sock"), place.file("control.sock"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = [
      "-c", "\"$@\" 2> '\(place.file("log"))' & echo $! > '\(place.file("pid"))'; wait $!", "sh", "/usr/bin/systemd-socket-activate",
      "--listen=\(control)", "--listen=\(nbd)", "--fdname=control:nbd", SpaceportServer.binary, "serve", "--state-dir", place.file("state"),
    ]
    process.standardInput = FileHandle.nullDevice
    try process.runWithoutBlockedSignals()
    var server: Int32 { Int32(place.text("pid").trimmingCharacters(in: .newlines)) ?? 0 }
    defer { if server > 0 && !process.hasEnded { kill(server, SIGKILL) } }
    try await waitUntil("the sockets") { FileManager.default.fileExists(atPath: nbd) }
    // The first who asks starts it, and is answered.
    let disk = try place.sparseFile(byteCount: 512 << 20)
    try await succeed(SpaceportServer.binary, "pool", "create", "tank", disk, "--control", control)
    try await succeed(SpaceportServer.binary, "vdisk", "create", "tank/data", "--size", "64MiB", "--control", control)
    #expect(try await succeed("nbdinfo", "--size", "nbd+unix:///tank/data?socket=\(nbd)") == "67108864\n")
    #expect(try await succeed(SpaceportServer.binary, "status", "--control", control).contains("unix:\(nbd)"))
    try #require(server > 0)
    kill(server, SIGTERM)
    try await waitUntil("the server to end") { process.hasEnded }
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(place.text("log"))")
    #expect(FileManager.default.fileExists(atPath: nbd) && FileManager.default.fileExists(atPath: control))
  }

  /// A service manager's side: what it is told.
  private final class Manager {
    let path: String
    private let descriptor: Int32
    private(set) var messages: [String] = []

    init(_ path: String) throws {
      self.path = path
      descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      var name = sockaddr_un()
      name.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
      let result = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
      }
      try #require(result == 0)
    }

    deinit { close(descriptor) }

    func listen() {
      var bytes = [UInt8](repeating: 0, count: 4096)
      while true {
        let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        if count <= 0 { return }
        messages += String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
      }
    }

    func count(_ message: String) -> Int {
      listen()
      return messages.count { $0 == message }
    }
  }

  @Test func theManagerIsToldOfReadinessLifeAndStop() async throws {
    let server = try SpaceportServer()
    let manager = try Manager(server.directory.file("notify"))
    try await server.start(environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"])
    try await waitUntil("READY=1") { manager.count("READY=1") == 1 }
    let before = manager.count("WATCHDOG=1")
    try await waitUntil("signs of life") { manager.count("WATCHDOG=1") > before + 3 }
    #expect(manager.messages.contains { $0.hasPrefix("STATUS=Serving") })
    #expect(manager.count("STOPPING=1") == 0)
    try await server.stop()
    #expect(manager.count("STOPPING=1") == 1)
  }

  private static let mayStopThreads =
    getuid() == 0 || (try? String(contentsOfFile: "/proc/sys/kernel/yama/ptrace_scope", encoding: .utf8))?.hasPrefix("0") != false

  @Test(.enabled(if: mayStopThreads, "stopping one thread needs root, or kernel.yama.ptrace_scope=0"))
  func theManagerHearsNothingOfAServerWhoseReactorHangs() async throws {
    let server = try SpaceportServer()
    let manager = try Manager(server.directory.file("notify"))
    try await server.start(environment: ["NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "100000"])
    try await waitUntil("signs of life") { manager.count("WATCHDOG=1") > 3 }
    let tracer = Process()
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Clients/stop_thread.py").path
    tracer.executableURL = URL(fileURLWithPath: Self.python)
    tracer.arguments = [script, "\(try #require(try thread("reactor-0", of: server.processID)))"]
    let output = try server.directory.createFile("tracer")
    tracer.standardOutput = output
    tracer.standardError = output
    try tracer.runWithoutBlockedSignals()
    try await waitUntil("the reactor to stand still") {
      if tracer.hasEnded { throw ProgramFailure(description: server.directory.text("tracer")) }
      return server.directory.text("tracer") == "stopped\n"
    }
    let before = manager.count("WATCHDOG=1")
    // Ten times as long as a sign of life takes. One may have been on its way.
    try await Task.sleep(for: .milliseconds(500))
    #expect(manager.count("WATCHDOG=1") <= before + 1)
    kill(tracer.processIdentifier, SIGKILL)
    try await waitUntil("signs of life again") { manager.count("WATCHDOG=1") > before + 3 }
    try await server.stop()
  }

  private func thread(_ name: String, of process: Int32) throws -> Int32? {
    for task in try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/task") {
      let own = try String(contentsOfFile: "/proc/\(process)/task/\(task)/comm", encoding: .utf8)
      if own.trimmingCharacters(in: .newlines) == name { return Int32(task) }
    }
    return nil
  }
}
