import Testing

@testable import Management

struct ByteSizeTests {
  static let readable: [(String, UInt64)] = [
    ("0", 0), ("1", 1), ("512", 512), ("1KiB", 1024), ("4KiB", 4096), ("3MiB", 3_145_728), ("10GiB", 10_737_418_240),
    ("2TiB", 2_199_023_255_552), ("16383PiB", 18_445_618_173_802_708_992), ("18446744073709551615", .max), ("007MiB", 7_340_032),
  ]

  @Test(arguments: readable)
  func reads(text: String, byteCount: UInt64) throws {
    #expect(try ByteSize(parsing: text).byteCount == byteCount)
  }

  @Test(arguments: [
    "", "KiB", "-1", "+1", "1.5GiB", "10G", "10g", "10GB", "10gib", "1 GiB", " 1", "1B", "0x10", "1e3", "GiB1", "１", "1KiBKiB", "1EiB",
    "1\u{301}",
  ])
  func refusesAndListsTheUnits(text: String) {
    let error = #expect(throws: APIError.self) { try ByteSize(parsing: text) }
    #expect(error?.code == .badRequest)
    #expect(error?.message.contains("\"\(text)\"") == true)
    for unit in ["KiB", "MiB", "GiB", "TiB", "PiB"] { #expect(error?.remedy.contains(unit) == true) }
  }

  @Test(arguments: ["18446744073709551616", "16384PiB", "18446744073709551615KiB", "99999999999999999999999999"])
  func refusesWhatOverflows(text: String) {
    let error = #expect(throws: APIError.self) { try ByteSize(parsing: text) }
    #expect(error?.message.contains("too large") == true)
  }

  static let shown: [(UInt64, String)] = [
    (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.50 KiB"), (262_144, "256 KiB"), (10_737_418_240, "10 GiB"),
    (1_310_720, "1.25 MiB"), (11_274_289_152, "10.5 GiB"), (107_374_182_401, "100 GiB"), (1_073_741_823, "1023 MiB"),
    (.max, "15.9 EiB"), (1_729_382_256_910_270_464, "1.50 EiB"), (1_073_741_825, "1.00 GiB"),
  ]

  @Test(arguments: shown)
  func shows(byteCount: UInt64, text: String) {
    #expect("\(ByteSize(byteCount: byteCount))" == text)
  }
}

struct NameTests {
  @Test func readsVirtualDiskPaths() throws {
    let path = try VirtualDiskPath(parsing: "tank/data")
    #expect(path == VirtualDiskPath(pool: "tank", name: "data"))
    #expect("\(path)" == "tank/data")
  }

  @Test(arguments: ["", "tank", "/", "tank/", "/data", "tank/data/1", "tank//data"])
  func refusesOtherPaths(text: String) {
    let error = #expect(throws: APIError.self) { try VirtualDiskPath(parsing: text) }
    #expect(error?.remedy.contains("POOL/NAME") == true)
  }

  @Test(arguments: ["tank", "a b", "ü/%", "..", "%2F", "\u{0}\n?#&"])
  func percentEncodingRoundTrips(name: String) {
    let encoded = PercentEncoding.encode(name)
    #expect(encoded.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") })
    #expect(PercentEncoding.decode(encoded) == name)
  }

  @Test(arguments: ["%", "%4", "%zz", "%ff", "a%C3"])
  func refusesMalformedEscapes(text: String) {
    #expect(PercentEncoding.decode(text) == nil)
  }
}
