import Testing

@testable import NBDServer

@Suite struct NetworkRangeTests {
  @Test(arguments: [
    ("192.0.2.7", "192.0.2.7"), ("192.0.2.0/24", "192.0.2.0/24"), ("0.0.0.0/0", "0.0.0.0/0"), ("10.128.0.0/9", "10.128.0.0/9"),
    ("2001:db8::/32", "2001:db8::/32"), ("2001:DB8:0::1", "2001:db8::1"), ("::/0", "::/0"), ("fe80::/9", "fe80::/9"),
    ("fec0::/10", "fec0::/10"), ("::1/128", "::1"),
    ("::ffff:192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.0/120", "192.0.2.0/24"), ("::ffff:0:0/96", "0.0.0.0/0"),
  ])
  func readsAndShows(text: String, shown: String) throws { #expect(try NetworkRange(parsing: text).description == shown) }

  @Test(arguments: [
    "", "192.0.2", "192.0.2.256", "192.0.2.7/33", "192.0.2.0/-1", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/24/8", "192.0.2.7/24", "/8",
    "2001:db8::1/32", "2001:db8::/129", "localhost", " 192.0.2.7", "192.0.2.7 ", "192.0.2.7\0", "::ffff:0:0/95", "01.2.3.4",
    "1", "0x7f000001", "192.0.2.0/\u{0662}",
  ])
  func refuses(text: String) { #expect(throws: NetworkRangeError.self) { try NetworkRange(parsing: text) } }

  @Test(arguments: ["fe80::1%eth0", "fe80::1", "fe80::/10", "febf::/16", "fe80::1%1/128", "FE80::"])
  func refusesWhatIsOfOneLinkOnly(text: String) {
    let error = #expect(throws: NetworkRangeError.self) { try NetworkRange(parsing: text) }
    #expect(error?.description.contains("link-local") == true)
  }

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
