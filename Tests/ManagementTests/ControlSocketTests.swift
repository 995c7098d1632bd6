import Foundation
import NIOCore
import Testing

@testable import Management

struct ControlSocketTests {
  private func server(_ path: String) -> ManagementServer {
    ManagementServer(socketPath: path, backend: FakeBackend(), logger: ServerHarness.quietLogger())
  }

  private func refusal(_ path: String) async -> APIError? {
    await #expect(throws: APIError.self) { try await server(path).run(until: {}) }
  }

  @Test func onlyItsOwnerMayOpenItAndItGoesWithTheServer() async throws {
    let place = try TemporaryDirectory()
    try await ServerHarness.run(FakeBackend(), socketPath: place.file("c")) { (_) async throws in
      #expect(try place.mode(of: "c") == 0o600)
      #expect(try FileManager.default.contentsOfDirectory(atPath: place.path).sorted() == ["c", "c.lock"])
    }
    #expect(try FileManager.default.contentsOfDirectory(atPath: place.path) == ["c.lock"])
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
      let error = await refusal(place.file("c"))
      #expect(error?.code == .busy)
      #expect(error?.message.contains(place.file("c")) == true)
      #expect(try await server.client.pools() == [])
    }
  }

  @Test func aLiveListenerWithoutOurLockIsLeftAlone() async throws {
    let place = try TemporaryDirectory()
    let listener = try RawSocket.bind(place.file("c"), listens: true)
    defer { close(listener) }
    #expect(await refusal(place.file("c"))?.code == .busy)
    #expect(FileManager.default.fileExists(atPath: place.file("c")))
  }

  @Test func aFileIsLeftAlone() async throws {
    let place = try TemporaryDirectory()
    _ = FileManager.default.createFile(atPath: place.file("c"), contents: Data("precious".utf8))
    let error = await refusal(place.file("c"))
    #expect(error?.code == .alreadyExists)
    #expect(FileManager.default.contents(atPath: place.file("c")) == Data("precious".utf8))
  }

  @Test func impossiblePathsAreExplained() async throws {
    let place = try TemporaryDirectory()
    let missing = await refusal(place.file("no/such/c"))
    #expect(missing?.message.contains(place.file("no/such/c")) == true)
    #expect(missing?.remedy.contains("--control") == true)
    #expect(await refusal("relative")?.code == .badRequest)
    #expect(await refusal(place.file(String(repeating: "x", count: 100)))?.message.contains("107 bytes") == true)
  }

  @Test func twoServersAtOnceAreOne() async throws {
    let place = try TemporaryDirectory()
    let stop = Gate()
    let results = await withTaskGroup(of: APIError?.self) { tasks in
      for _ in 0..<8 {
        tasks.addTask {
          do throws(APIError) {
            try await server(place.file("c")).run(until: { await stop.wait() })
            return nil
          } catch {
            return error
          }
        }
      }
      var refusals: [APIError?] = []
      while refusals.count < 7, let result = await tasks.next() { refusals.append(result) }
      stop.open()
      for await result in tasks { refusals.append(result) }
      return refusals
    }
    #expect(results.filter { $0 == nil }.count == 1)
    #expect(results.compactMap { $0 }.allSatisfy { $0.code == .busy })
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
