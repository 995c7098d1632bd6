import Testing

@testable import NBDServer

@Suite struct ListenAddressTests {
  @Test(arguments: [
    ("unix:/run/x.sock", ListenAddress.unix(path: "/run/x.sock")), ("unix:/run/a b:c", .unix(path: "/run/a b:c")),
    ("unix:rel.sock", .unix(path: "rel.sock")),
    ("tcp:127.0.0.1:10809", .tcp(host: "127.0.0.1", port: 10809)), ("tcp:[::1]:10809", .tcp(host: "::1", port: 10809)),
    ("tcp:storage.example:0", .tcp(host: "storage.example", port: 0)), ("tcp:[fe80::1]:65535", .tcp(host: "fe80::1", port: 65535)),
  ])
  func readsAndShows(text: String, address: ListenAddress) throws {
    #expect(try ListenAddress(parsing: text) == address)
    #expect("\(address)" == text)
  }

  @Test(arguments: [
    "", "unix:", "tcp:", "/run/x.sock", "127.0.0.1:10809", "tcp:127.0.0.1", "tcp:127.0.0.1:", "tcp::10809", "tcp:host:65536", "tcp:host:-1",
    "tcp:host:10 ", "tcp:host:1\u{301}", "tcp:host:+1", "tcp:::1:10809", "tcp:[::1]", "tcp:[]:1", "tcp:[zz]:1", "tcp:[::1:1", "tcp:a/b:1",
    "tcp:a b:1", "udp:host:1", "unix:" + String(repeating: "x", count: 108), "UNIX:/x",
  ])
  func refuses(text: String) {
    let error = #expect(throws: ListenError.self) { try ListenAddress(parsing: text) }
    #expect(error?.description.contains("Give unix:PATH or tcp:HOST:PORT") == true)
  }

  @Test func takesTheLongestPath() throws {
    let path = "/" + String(repeating: "x", count: 106)
    #expect(try ListenAddress(parsing: "unix:\(path)") == .unix(path: path))
  }

  @Test(arguments: [
    ("unix:/x", true), ("tcp:localhost:1", true), ("tcp:127.0.0.1:1", true), ("tcp:127.8.9.10:1", true), ("tcp:[::1]:1", true),
    ("tcp:[::ffff:127.0.0.1]:1", true), ("tcp:0.0.0.0:1", false), ("tcp:[::]:1", false), ("tcp:192.168.1.2:1", false),
    ("tcp:128.0.0.1:1", false), ("tcp:storage.example:1", false), ("tcp:[::ffff:10.0.0.1]:1", false), ("tcp:127.evil.example:1", false),
  ])
  func knowsWhatIsLocal(text: String, isLocal: Bool) throws {
    #expect(try ListenAddress(parsing: text).isLocal == isLocal)
  }
}
