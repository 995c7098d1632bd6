import Foundation
import NIOCore
import TestSupport
import Testing

@testable import Management

struct ControlSocketTests {
  private func refusal(_ path: String) -> APIError? {
    #expect(throws: APIError.self) { try ControlSocketClaim(path: path) }
  }

  @Test func onlyItsOwnerMayOpenItAndItGoesWithTheServer() async throws {
    let place = try TemporaryDirectory()
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c")) { (_) async throws in
      #expect(try place.mode(of: "c") == 0o600)
      #expect(try FileManager.default.contentsOfDirectory(atPath: place.path).sorted() == ["c", "c.lock"])
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: place.path) == ["c.lock"])
  }

  @Test func aGroupMayUseItWhereOneIsNamed() async throws {
    let place = try TemporaryDirectory()
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c"), group: "\(getegid())") { (server) async throws in
      #expect(try place.mode(of: "c") == 0o660)
      #expect(try await server.client.pools() == [])
    }
    let unknown = #expect(throws: APIError.self) { try ControlSocketClaim(path: place.file("d"), group: "no such group") }
    #expect(unknown?.message.contains("no such group") == true)
  }

  @Test func onlyRootTheServersUserAndItsGroupAreAnswered() {
    let closed = ControlAccess(ownUser: 1000, group: nil)
    #expect(closed.admits(user: 0, group: 0, otherGroups: []))
    #expect(closed.admits(user: 1000, group: 5, otherGroups: []))
    #expect(!closed.admits(user: 1001, group: 1000, otherGroups: [0, 1000]))
    let open = ControlAccess(ownUser: 0, group: 7)
    #expect(open.admits(user: 1001, group: 7, otherGroups: []))
    #expect(open.admits(user: 1001, group: 5, otherGroups: [6, 7]))
    #expect(!open.admits(user: 1001, group: 5, otherGroups: [6]))
    #expect(!open.admits(user: 7, group: 5, otherGroups: []))
  }

  /// The check stands behind the socket's mode: here that is open to all.
  @Test(.enabled(if: getuid() == 0, "being another user needs root")) func otherUsersAreToldWhyTheyAreNot() async throws {
    let place = try TemporaryDirectory()
    let path = place.file("c")
    try await ServerHarness.run(FakeBackend(), socketPath: path, group: "7") { (server) async throws in
      chmod(place.path, 0o755)
      chmod(path, 0o666)
      let script = """
        import socket, sys
        s = socket.socket(socket.AF_UNIX)
        s.connect(sys.argv[1])
        s.sendall(b"GET /v1/pools HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        print(b"".join(iter(lambda: s.recv(4096), b"")).decode())
        """
      func asked(_ user: [String]) async throws -> String {
        try await Program.succeed(["setpriv"] + user + ["/usr/bin/python3", "-c", script, path])
      }
      let refused = try await asked(["--reuid", "1234", "--regid", "1234", "--clear-groups"])
      #expect(refused.contains("permissionDenied") && refused.contains("user 1234"), "\(refused)")
      for user in [["--reuid", "1234", "--regid", "7", "--clear-groups"], ["--reuid", "1234", "--regid", "1234", "--groups", "6,7"]] {
        let answer = try await asked(user)
        #expect(answer.contains("200 OK"), "\(answer)")
      }
    }
  }

  @Test func aServiceManagersSocketIsServedAndLeftAlone() async throws {
    let place = try TemporaryDirectory()
    let listener = try RawSocket.bind(place.file("c"), listens: true)
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c"), inherited: listener) { (server) async throws in
      #expect(try await server.client.pools() == [])
      #expect(try FileManager.default.contentsOfDirectory(atPath: place.path).sorted() == ["c", "c.lock"])
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: place.path).sorted() == ["c", "c.lock"])
  }

  @Test func aDeadServersSocketIsReplaced() async throws {
    let place = try TemporaryDirectory()
    close(try RawSocket.bind(place.file("c"), listens: true))
    #expect(FileManager.default.fileExists(atPath: place.file("c")))
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c")) { (server) async throws in
      #expect(try await server.client.pools() == [])
    }
  }

  @Test func whatAKilledServerLeftBehindIsReplaced() async throws {
    let place = try TemporaryDirectory()
    let leftOver = place.file(".\(getpid())")
    try FileManager.default.createDirectory(atPath: leftOver, withIntermediateDirectories: false)
    close(try RawSocket.bind("\(leftOver)/s", listens: false))
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c")) { (server) async throws in
      #expect(try await server.client.pools() == [])
    }
  }

  @Test func aLiveServersSocketIsLeftAlone() async throws {
    let place = try TemporaryDirectory()
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c")) { (server) async throws in
      let error = refusal(place.file("c"))
      #expect(error?.code == .busy)
      #expect(error?.message.contains(place.file("c")) == true)
      #expect(try await server.client.pools() == [])
    }
  }

  @Test func aLiveListenerWithoutOurLockIsLeftAlone() async throws {
    let place = try TemporaryDirectory()
    let listener = try RawSocket.bind(place.file("c"), listens: true)
    defer { close(listener) }
    #expect(refusal(place.file("c"))?.code == .busy)
    #expect(FileManager.default.fileExists(atPath: place.file("c")))
  }

  @Test func aFileIsLeftAlone() async throws {
    let place = try TemporaryDirectory()
    _ = FileManager.default.createFile(atPath: place.file("c"), contents: Data("precious".utf8))
    let error = refusal(place.file("c"))
    #expect(error?.code == .alreadyExists)
    // The lock was let go: the refusal is the same, and not that a server is running.
    #expect(refusal(place.file("c")) == error)
    #expect(FileManager.default.contents(atPath: place.file("c")) == Data("precious".utf8))
  }

  @Test func impossiblePathsAreExplained() async throws {
    let place = try TemporaryDirectory()
    let missing = refusal(place.file("no/such/c"))
    #expect(missing?.message.contains(place.file("no/such/c")) == true)
    #expect(missing?.remedy.contains("--control") == true)
    #expect(refusal("relative")?.code == .badRequest)
    #expect(refusal(place.file(String(repeating: "x", count: 100)))?.message.contains("107 bytes") == true)
  }

  @Test func ofManyServersAtOnceOneHasTheClaim() async throws {
    let place = try TemporaryDirectory()
    let outcomes = await withTaskGroup(of: Result<ControlSocketClaim, APIError>.self) { tasks in
      for _ in 0..<16 {
        tasks.addTask { Result { () throws(APIError) in try ControlSocketClaim(path: place.file("c")) } }
      }
      var outcomes: [Result<ControlSocketClaim, APIError>] = []
      for await outcome in tasks { outcomes.append(outcome) }
      return outcomes
    }
    let refusals = outcomes.compactMap { outcome in
      if case .failure(let error) = outcome { error } else { nil }
    }
    #expect(refusals.count == 15)
    #expect(refusals.allSatisfy { $0.code == .busy })
  }

  @Test func aClaimEndsWithItsOwner() throws {
    let place = try TemporaryDirectory()
    try withExtendedLifetime(ControlSocketClaim(path: place.file("c"))) {
      #expect(refusal(place.file("c"))?.code == .busy)
    }
    _ = try ControlSocketClaim(path: place.file("c"))
    // A claim alone puts no socket there.
    #expect(try FileManager.default.contentsOfDirectory(atPath: place.path) == ["c.lock"])
  }
}

struct ClientErrorTests {
  @Test func aMissingServerIsExplained() async throws {
    let place = try TemporaryDirectory()
    let error = await #expect(throws: APIError.self) { try await ManagementClient(socketPath: place.file("c")).pools() }
    #expect(error?.code == .serverUnreachable)
    #expect(error?.message.contains(place.file("c")) == true)
    for word in ["spaceport serve", "--control", "SPACEPORT_CONTROL"] { #expect(error?.remedy.contains(word) == true) }

    close(try RawSocket.bind(place.file("c"), listens: true))
    let dead = await #expect(throws: APIError.self) { try await ManagementClient(socketPath: place.file("c")).pools() }
    #expect(dead == error)
  }

  @Test func aForbiddenSocketIsExplained() throws {
    let error = ManagementClient(socketPath: "/c").explain(IOError(errnoCode: EACCES, reason: "connect"))
    #expect(error.code == .permissionDenied)
    #expect(error.remedy.contains("sudo"))
  }

  @Test func aPathThatIsTooLongIsExplained() async throws {
    let client = ManagementClient(socketPath: "/" + String(repeating: "x", count: 107))
    let error = await #expect(throws: APIError.self) { try await client.pools() }
    #expect(error?.message.contains("too long") == true)
  }

  @Test(arguments: [
    ("", "closed the connection"), ("SSH-2.0-OpenSSH\r\n\r\n", "doesn't speak HTTP"),
    ("HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nabc", "status 500 without an explanation"),
    ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "can't be read"),
    ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "closed the connection"),
  ])
  func anotherProgramsAnswerIsExplained(answer: String, explanation: String) async throws {
    let place = try TemporaryDirectory()
    let listener = try RawSocket.bind(place.file("c"), listens: true)
    defer { close(listener) }
    Thread.detachNewThread { RawSocket.answerOnce(listener, answer) }
    let error = await #expect(throws: APIError.self) { try await ManagementClient(socketPath: place.file("c")).pools() }
    #expect(error?.message.contains(explanation) == true, "\(String(describing: error))")
  }

  @Test func aServerSurvivesWhatIsNotHTTP() async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      #expect(try await RawSocket.exchange(server.socketPath, "\u{1}\u{2}\u{3}\r\n\r\n", untilReceived: "\r\n\r\n").contains("400"))
      #expect(try await server.client.pools() == [])
    }
  }
}
