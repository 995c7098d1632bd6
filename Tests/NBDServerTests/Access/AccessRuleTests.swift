import Foundation
import Testing

@testable import NBDServer

@Suite struct AccessRuleTests {
  private func network(_ text: String) throws -> NetworkRange { try NetworkRange(parsing: text) }

  private func tcp(_ address: String, _ tls: TLSPeer? = nil) throws -> ClientIdentity {
    ClientIdentity(origin: .network(try #require(NetworkAddress(parsing: address))), tls: tls)
  }

  private func unix(_ uid: UInt32, _ tls: TLSPeer? = nil) -> ClientIdentity { ClientIdentity(origin: .unix(uid: uid), tls: tls) }

  private func certificate(_ common: String, _ distinguished: String = "CN=x,O=y", _ fingerprint: [UInt8] = [1, 0xab]) -> TLSPeer {
    TLSPeer(
      cipher: "", certificate: TLSPeer.Certificate(commonName: common, distinguishedName: distinguished, fingerprint: fingerprint))
  }

  private func psk(_ user: String) -> TLSPeer { TLSPeer(cipher: "", pskUser: user) }

  @Test func aRuleWithoutNamesRefusesNobody() throws {
    for client in [try tcp("192.0.2.1"), unix(1000), ClientIdentity(origin: .unknown)] {
      #expect(AccessRule.everybody.admission(of: client) == .readWrite)
      #expect(AccessRule(isReadOnly: true).admission(of: client) == .readOnly)
    }
  }

  @Test func whoNamesUsersShutsTCPOutAndTheOtherWayRound() throws {
    let users = AccessRule(users: [1000])
    #expect(users.admission(of: unix(1000)) == .readWrite)
    #expect(users.admission(of: unix(0)) == .denied)
    #expect(try users.admission(of: tcp("127.0.0.1")) == .denied)
    #expect(users.admission(of: ClientIdentity(origin: .unknown)) == .denied)
    let peers = AccessRule(isReadOnly: true, peers: [try network("192.0.2.0/28"), try network("2001:db8::/32")])
    #expect(try peers.admission(of: tcp("192.0.2.15")) == .readOnly)
    #expect(try peers.admission(of: tcp("::ffff:192.0.2.15")) == .readOnly)
    #expect(try peers.admission(of: tcp("192.0.2.16")) == .denied)
    #expect(try peers.admission(of: tcp("2001:db8::9")) == .readOnly)
    #expect(peers.admission(of: unix(0)) == .denied)
    let both = AccessRule(users: [0], peers: [try network("192.0.2.1")])
    #expect(both.admission(of: unix(0)) == .readWrite)
    #expect(try both.admission(of: tcp("192.0.2.1")) == .readWrite)
    // Not by the text of its address.
    #expect(try both.admission(of: tcp("192.0.2.10")) == .denied)
  }

  /// Only who may get in by TLS is told to begin it.
  @Test func whoIsDeniedForWantOfTLSAloneIsKnown() throws {
    let named = AccessRule(users: [1000], peers: [try network("192.0.2.0/28")], certificates: ["a"], pskUsers: ["alice"])
    #expect(named.needsTLS(of: unix(1000)))
    #expect(try named.needsTLS(of: tcp("192.0.2.1")))
    #expect(!named.needsTLS(of: unix(1001)))
    #expect(try !named.needsTLS(of: tcp("192.0.2.16")))
    #expect(!named.needsTLS(of: unix(1000, psk("bob"))), "it has shown who it is")
    #expect(AccessRule(certificates: ["a"]).needsTLS(of: ClientIdentity(origin: .unknown)))
    for rule in [AccessRule.everybody, AccessRule(isReadOnly: true, users: [1000])] { #expect(!rule.needsTLS(of: unix(1000))) }
  }

  @Test func whatTLSShowsIsComparedAsAWhole() throws {
    let named = AccessRule(certificates: ["host.example", "CN=a\\, b,O=c", "sha256:01AB"])
    #expect(named.admission(of: unix(0, certificate("host.example"))) == .readWrite)
    for other in ["host.example.org", "host", "HOST.example", "", "x"] {
      #expect(named.admission(of: unix(0, certificate(other, "CN=\(other)", [2]))) == .denied)
    }
    #expect(named.admission(of: unix(0, certificate("", "CN=a\\, b,O=c", [2]))) == .readWrite)
    #expect(named.admission(of: unix(0, certificate("", "CN=host.example", [1, 0xab]))) == .readWrite)
    // A common name that looks like another kind of name is none.
    #expect(named.admission(of: unix(0, certificate("sha256:01ab", "CN=z", [2]))) == .denied)
    #expect(named.admission(of: unix(0, certificate("CN=a\\, b,O=c", "CN=z", [2]))) == .denied)
    #expect(named.admission(of: unix(0)) == .denied)
    #expect(named.admission(of: unix(0, psk("host.example"))) == .denied)
    #expect(AccessRule(certificates: ["e\u{301}"]).admission(of: unix(0, certificate("\u{e9}"))) == .denied)
    let keys = AccessRule(pskUsers: ["alice"])
    #expect(keys.admission(of: unix(0, psk("alice"))) == .readWrite)
    #expect(keys.admission(of: unix(0, psk("alice2"))) == .denied)
    #expect(AccessRule(pskUsers: ["e\u{301}"]).admission(of: unix(0, psk("\u{e9}"))) == .denied)
    #expect(keys.admission(of: unix(0, certificate("alice"))) == .denied)
  }

  @Test func aFingerprintIsAsLongAsASHA256() {
    let digits = String(repeating: "0aF9", count: 16)
    for name in ["host.example", "CN=sha256", "sha256", "sha256:" + digits] { #expect(AccessRule.isCertificateName(name)) }
    for name in [
      "", "01ab", digits + "0", String(digits.dropLast()), String(digits.dropLast()) + "g", String(digits.dropLast()) + "\u{ff11}",
    ] {
      #expect(!AccessRule.isCertificateName("sha256:" + name))
    }
  }

  @Test func placeAndNameAreBothAskedFor() throws {
    let rule = AccessRule(peers: [try network("192.0.2.0/24")], pskUsers: ["alice"])
    #expect(try rule.admission(of: tcp("192.0.2.1", psk("alice"))) == .readWrite)
    #expect(try rule.admission(of: tcp("192.0.2.1")) == .denied)
    #expect(try rule.admission(of: tcp("192.0.3.1", psk("alice"))) == .denied)
  }

  @Test func itIsTheSameAfterItWasWritten() throws {
    let rule = AccessRule(
      isReadOnly: true, users: [7], peers: [try network("::ffff:10.0.0.0/104")], certificates: ["CN=ä"], pskUsers: ["b"])
    #expect(try JSONDecoder().decode(AccessRule.self, from: JSONEncoder().encode(rule)) == rule)
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(
        AccessRule.self, from: Data(#"{"isReadOnly":false,"users":[],"peers":["10.0"],"certificates":[],"pskUsers":[]}"#.utf8))
    }
  }
}
