import Management
import Testing

struct JSONTests {
  @Test func keysAreSortedAndSlashesPlain() throws {
    let text = try JSON.text(CreatePool(name: "tank", disks: ["/dev/sdb", "/srv/ü.img"], slabBytes: 1 << 20, force: true))
    #expect(
      text == """
        {
          "disks" : [
            "/dev/sdb",
            "/srv/ü.img"
          ],
          "force" : true,
          "name" : "tank",
          "slabBytes" : 1048576
        }

        """)
  }

  @Test func objectsRoundTrip() throws {
    try roundTrip(Samples.pool("tank", disks: ["/a", "/b"]))
    try roundTrip(Samples.stack(export: "tank/data"))
    try roundTrip(Samples.virtualDisk(CreateVirtualDisk(pool: "p", name: "v", sizeBytes: .max)))
    try roundTrip(APIError(.busy, "it is", remedy: "wait"))
    try roundTrip(OpenPools(disks: [], scanDirectory: "/dev"))
  }

  private func roundTrip<Value: Codable & Equatable>(_ value: Value) throws {
    let bytes = try JSON.encode(value)
    #expect(try JSON.decode(Value.self, from: bytes) == value)
    #expect(try JSON.encode(value) == bytes)
  }

  @Test func wordsOfNewerVersionsAreKept() throws {
    var pool = Samples.pool("tank", disks: [])
    pool.state = PoolInfo.State(rawValue: "levitating")
    let read = try JSON.decode(PoolInfo.self, from: try JSON.encode(pool))
    #expect("\(read.state)" == "levitating")
  }

  @Test(arguments: [
    ("{", "not valid JSON"), (#"{"name":1,"disks":[],"force":false}"#, "name is not of type"), (#"{"name":"x"}"#, "\"disks\" is missing"),
    (#"{"name":"x","disks":["a",2],"force":true}"#, "disks.[1]"), (#"{"name":null,"disks":[],"force":false}"#, "name"),
  ])
  func explainsWhatIsWrong(text: String, explanation: String) {
    do {
      _ = try JSON.decode(CreatePool.self, from: text.utf8)
      Issue.record("\(text) was read")
    } catch {
      #expect(JSON.explain(error).contains(explanation))
    }
  }
}
