import CLinux
import Testing

@testable import Systemd

@Suite struct InheritedSocketsTests {
  private func parse(_ environment: [String: String]) throws -> [InheritedSocket] {
    try InheritedSockets.parse(environment, processID: 42)
  }

  @Test func socketsHaveTheirNamesInOrder() throws {
    #expect(try parse(["LISTEN_PID": "42", "LISTEN_FDS": "1"]) == [InheritedSocket(descriptor: 3, name: "")])
    #expect(
      try parse(["LISTEN_PID": "42", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "nbd::control"])
        == [
          InheritedSocket(descriptor: 3, name: "nbd"), InheritedSocket(descriptor: 4, name: ""),
          InheritedSocket(descriptor: 5, name: "control"),
        ])
    #expect(try parse(["LISTEN_PID": "42", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""]).isEmpty)
  }

  @Test func whatIsNotForThisProcessIsLeftAlone() throws {
    #expect(try parse([:]).isEmpty)
    #expect(try parse(["LISTEN_FDS": "1"]).isEmpty)
    #expect(try parse(["LISTEN_PID": "42"]).isEmpty)
    #expect(try parse(["LISTEN_PID": "43", "LISTEN_FDS": "1"]).isEmpty)
    #expect(try parse(["LISTEN_PID": "43", "LISTEN_FDS": "nonsense"]).isEmpty)
  }

  @Test(arguments: [
    ["LISTEN_PID": "x", "LISTEN_FDS": "1"], ["LISTEN_PID": "", "LISTEN_FDS": "1"], ["LISTEN_PID": "-42", "LISTEN_FDS": "1"],
    ["LISTEN_PID": "42", "LISTEN_FDS": ""], ["LISTEN_PID": "42", "LISTEN_FDS": "-1"], ["LISTEN_PID": "42", "LISTEN_FDS": "+1"],
    ["LISTEN_PID": "42", "LISTEN_FDS": "65"], ["LISTEN_PID": "42", "LISTEN_FDS": "99999999999"], ["LISTEN_PID": "42", "LISTEN_FDS": "1 "],
    ["LISTEN_PID": "42", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "one"], ["LISTEN_PID": "42", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"],
  ])
  func nonsenseIsRefused(environment: [String: String]) {
    #expect(throws: ServiceManagerError.self) { try parse(environment) }
  }
}

@Suite struct ServiceManagerTests {
  /// A manager's socket, and what it was told.
  private final class Manager {
    let descriptor: Int32
    init(_ name: [UInt8]) {
      descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
      let length = socklen_t(2 + name.count)
      let result = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
      }
      #expect(result == 0)
    }
    deinit { _ = close(descriptor) }

    func received() -> String? {
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
      return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
    }
  }

  private let name = "/tmp/spaceport-notify-\(getpid())-\(UInt32.random(in: 0 ... .max))"

  @Test(arguments: [true, false]) func tellsTheManagerByPathAndByAbstractName(isAbstract: Bool) throws {
    let own = name + (isAbstract ? "-a" : "")
    let manager = Manager(isAbstract ? [0] + Array(own.utf8) : Array(own.utf8))
    defer { unlink(own) }
    let told = try #require(ServiceManager(["NOTIFY_SOCKET": isAbstract ? "@" + own : own], processID: 1))
    told.ready(status: "two\nlines")
    #expect(manager.received() == "READY=1\nSTATUS=two lines")
    told.isAlive()
    #expect(manager.received() == "WATCHDOG=1")
    told.stopping()
    #expect(manager.received()?.hasPrefix("STOPPING=1\nSTATUS=") == true)
    #expect(manager.received() == nil)
  }

  @Test func aManagerThatIsGoneOrDoesNotReadHoldsNobodyUp() throws {
    try #require(ServiceManager(["NOTIFY_SOCKET": "/nowhere/socket"], processID: 1)).isAlive()
    let manager = Manager(Array(name.utf8))
    defer { unlink(name) }
    let told = try #require(ServiceManager(["NOTIFY_SOCKET": name], processID: 1))
    for _ in 0..<1000 { told.isAlive() }
    #expect(manager.received() == "WATCHDOG=1")
  }

  @Test func withoutAManagerThereIsNone() {
    for value in ["", "relative", "@", "/", "/" + String(repeating: "x", count: 107)] {
      #expect(ServiceManager(["NOTIFY_SOCKET": value], processID: 1) == nil)
    }
    #expect(ServiceManager([:], processID: 1) == nil)
  }

  @Test(
    arguments: [
      (["WATCHDOG_USEC": "3000000"], 1_500_000), (["WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"], 1_500_000),
      (["WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"], nil), (["WATCHDOG_USEC": "0"], nil), (["WATCHDOG_USEC": "x"], nil), ([:], nil),
    ] as [([String: String], UInt64?)])
  func halfOfTheWatchdogsTime(environment: [String: String], expected: UInt64?) throws {
    let told = try #require(ServiceManager(environment.merging(["NOTIFY_SOCKET": "/x"]) { $1 }, processID: 7))
    #expect(told.watchdogMicroseconds == expected)
  }
}
