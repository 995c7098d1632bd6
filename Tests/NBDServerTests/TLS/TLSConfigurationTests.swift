import Foundation
import TestSupport
import Testing

@testable import NBDServer

@Suite struct TLSConfigurationTests {
  @Test func whatCannotBeUsedIsRefusedAtTheStartAndNamed() async throws {
    let certificates = try await TestCertificates.makeOwn()
    func refusal(_ configuration: TLSConfiguration) -> String {
      do {
        _ = try TLSContext(configuration)
        return "nothing"
      } catch { return "\(error)" }
    }
    #expect(refusal(TLSConfiguration(isRequired: true)).contains("--tls-certificates"))
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: "/nowhere")).contains("/nowhere/ca-cert.pem"))
    #expect(refusal(TLSConfiguration(isRequired: true, pskFile: "/nowhere/keys")).contains("/nowhere/keys cannot be read"))
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: certificates.server)) == "nothing")
    try FileManager.default.removeItem(atPath: certificates.server + "/server-key.pem")
    try FileManager.default.copyItem(atPath: certificates.client + "/client-key.pem", toPath: certificates.server + "/server-key.pem")
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: certificates.server)).contains("server-key.pem"))
    try Data().write(to: URL(fileURLWithPath: certificates.server + "/ca-cert.pem"))
    #expect(refusal(TLSConfiguration(isRequired: true, certificateDirectory: certificates.server)).contains("ca-cert.pem"))
  }

  @Test(arguments: ["alice:00ff", "# who\nalice:00FF\n\nbob:ab\n", "a:b:00"]) func takesFilesOfKeys(text: String) throws {
    try PSKFile.check(Array(text.utf8), path: "keys")
  }

  @Test(arguments: [
    ("", "no pre-shared key"), ("# none\n", "no pre-shared key"), ("alice", "Line 1"), (":00", "Line 1"), ("alice:", "Line 1"),
    ("alice:00\nbob:0", "Line 2"), ("alice:0g", "Line 1"), ("alice:00 ", "Line 1"), ("alice:\u{ff11}\u{ff11}", "Line 1"),
  ])
  func refusesOtherFiles(text: String, words: String) {
    let error = #expect(throws: TLSError.self) { try PSKFile.check(Array(text.utf8), path: "keys") }
    #expect(error?.description.contains(words) == true)
  }
}

@Suite struct NetworkRangeTests {
  @Test(arguments: [
    ("192.0.2.7", "192.0.2.7"), ("192.0.2.0/24", "192.0.2.0/24"), ("0.0.0.0/0", "0.0.0.0/0"), ("10.128.0.0/9", "10.128.0.0/9"),
    ("2001:db8::/32", "2001:db8::/32"), ("2001:DB8:0::1", "2001:db8::1"), ("::/0", "::/0"), ("::1/128", "::1"),
    ("::ffff:192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("::ffff:0:0/96", "0.0.0.0/0"),
  ])
  func readsAndShows(text: String, shown: String) throws { #expect(try NetworkRange(parsing: text).description == shown) }

  @Test(arguments: [
    "", "192.0.2", "192.0.2.256", "192.0.2.7/33", "192.0.2.0/-1", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/24/8", "192.0.2.7/24", "/8",
    "2001:db8::1/32", "2001:db8::/129", "fe80::1%eth0", "localhost", " 192.0.2.7", "192.0.2.7 ", "192.0.2.7\0", "::ffff:0:0/95", "01.2.3.4",
    "1", "0x7f000001", "192.0.2.0/\u{0662}",
  ])
  func refuses(text: String) { #expect(throws: NetworkRangeError.self) { try NetworkRange(parsing: text) } }

  @Test(arguments: [
    ("192.0.2.0/24", "192.0.2.255", true), ("192.0.2.0/24", "192.0.3.0", false), ("192.0.2.1", "192.0.2.10", false),
    ("192.0.2.1", "192.0.2.1", true), ("10.128.0.0/9", "10.127.255.255", false), ("10.128.0.0/9", "10.255.0.1", true),
    ("0.0.0.0/0", "255.1.2.3", true), ("0.0.0.0/0", "::1", false), ("::/0", "::1", true), ("::/0", "192.0.2.1", false),
    ("192.0.2.0/24", "::ffff:192.0.2.9", true), ("::ffff:192.0.2.0/120", "192.0.2.9", true), ("2001:db8::/33", "2001:db8:7fff::1", true),
    ("2001:db8::/33", "2001:db8:8000::1", false), ("::1", "::1:0", false),
  ])
  func holdsAddressesByTheirBits(range: String, address: String, isInside: Bool) throws {
    let address = try #require(NetworkAddress(parsing: address))
    #expect(try NetworkRange(parsing: range).contains(address) == isInside)
  }
}
