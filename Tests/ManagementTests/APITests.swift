import NIOCore
import NIOHTTP1
import Testing

@testable import Management

/// The real server and the real client over a real socket.
struct APITests {
  @Test func everyCallReachesTheStorage() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      let client = server.client
      let pool = try await client.createPool(CreatePool(name: "tank", disks: ["/a", "/b"], slabBytes: 1 << 20))
      #expect(pool.slabBytes == 1 << 20 && pool.disks.map(\.path) == ["/a", "/b"])
      #expect(try await client.pools() == [pool])
      #expect(try await client.pool(named: "tank") == pool)
      #expect(try await client.disks() == pool.disks)
      #expect(try await client.status().poolsReady == ["tank"])

      let path = VirtualDiskPath(pool: "tank", name: "data")
      let request = CreateVirtualDisk(
        pool: "tank", name: "data", sizeBytes: (1 << 62) + 1, provisioning: .fixed, columns: 2, interleaveBytes: 65536,
        logicalSectorBytes: 4096)
      let disk = try await client.createVirtualDisk(request)
      #expect(backend.virtualDiskRequests == [request])
      #expect(disk.sizeBytes == (1 << 62) + 1)
      #expect(try await client.virtualDisks(ofPool: nil) == [disk])
      #expect(try await client.virtualDisks(ofPool: "tank") == [disk])
      #expect(try await client.virtualDisks(ofPool: "other") == [])
      #expect(try await client.virtualDisk(at: path) == disk)
      #expect(try await client.stack(of: path) == [Samples.stack(export: "tank/data")])
      #expect(try await client.stack(of: nil) == [Samples.stack(export: "tank/data")])
      #expect(try await client.resizeVirtualDisk(at: path, ResizeVirtualDisk(sizeBytes: .max)).sizeBytes == .max)
      #expect(try await client.setVirtualDisk(at: path, SetVirtualDisk(share: 250)).share == 250)
      try await client.deleteVirtualDisk(at: path)
      #expect(try await client.virtualDisks(ofPool: nil) == [])

      #expect(try await client.openPools(OpenPools(disks: ["/z"])) == [pool.with { $0.virtualDisks = ["data"] }])
      _ = try await client.openPools(OpenPools(disks: [], scanDirectory: "/dev"))
      #expect(backend.openRequests == [OpenPools(disks: ["/z"]), OpenPools(disks: [], scanDirectory: "/dev")])
      try await client.closePool(named: "tank")
      #expect(try await client.pools() == [])
      _ = try await client.createPool(CreatePool(name: "tank", disks: ["/a"]))
      try await client.destroyPool(named: "tank")
      #expect(try await client.pools() == [])
    }
  }

  @Test func exportsAreReached() async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      let client = server.client
      _ = try await client.createPool(CreatePool(name: "tank", disks: ["/a"]))
      _ = try await client.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1 << 30))
      let disk = VirtualDiskPath(pool: "tank", name: "data")
      let request = SetExportAccess(
        export: ExportPath(disk: disk), readOnly: true, allowUsers: [1000], allowPeers: ["192.0.2.0/24"], allowCertificates: ["CN=ä"],
        allowPSKUsers: ["bob"])
      let expected = ExportAccess(
        name: "tank/data", readOnly: true, allowUsers: [1000], allowPeers: ["192.0.2.0/24"], allowCertificates: ["CN=ä"],
        allowPSKUsers: ["bob"], hasOwnRule: true)
      #expect(try await client.setExport(request) == expected)
      #expect(try await client.exports(ofPool: nil) == [expected])
      #expect(try await client.exports(ofPool: "tank") == [expected])
      #expect(try await client.export(at: ExportPath(disk: disk)) == expected)
      let partition = ExportPath(disk: disk, partition: "a b%")
      #expect(try await client.export(at: partition).name == "tank/data/a b%")
      #expect(try await client.setExport(SetExportAccess(export: partition, allowUsers: [])).hasOwnRule)
      #expect(try await client.resetExport(ResetExportAccess(export: partition)).hasOwnRule == false)
    }
  }

  @Test func partitionTablesAreReached() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      let client = server.client
      _ = try await client.createPool(CreatePool(name: "tank", disks: ["/a"]))
      _ = try await client.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 1 << 30))
      let path = VirtualDiskPath(pool: "tank", name: "data")
      let table = try await client.partitionTable(of: path)
      #expect(table == Samples.partitionTable(path))
      #expect(try await client.volumes(of: path) == [Samples.volume()])
      var volume = Samples.volume()
      volume.content = nil
      #expect(try await client.volumesWithoutContent(of: path) == [volume] && volume != Samples.volume())
      let initialize = InitPartitionTable(acceptLoss: true, force: true)
      let create = CreatePartition(
        size: PartitionSize(percentOfFree: 40), type: "efi", label: "ä/ö", attributes: ["hidden"], number: 3, alignmentBytes: 4096)
      let delete = DeletePartitions(partitions: ["1", "x y"], acceptLoss: true, force: true)
      let resize = ResizePartition(partition: "1", size: PartitionSize(bytes: .max), acceptLoss: true)
      let set = SetPartition(partition: "1", type: "swap", set: ["60"], clear: ["0"])
      #expect(try await client.initPartitionTable(of: path, initialize) == table)
      #expect(try await client.createPartition(on: path, create) == table)
      #expect(try await client.deletePartitions(of: path, delete) == table)
      #expect(try await client.resizePartition(of: path, resize) == table)
      #expect(try await client.setPartition(of: path, set) == table)
      let repair = RepairPartitionTable(source: "backup", apply: true)
      #expect(try await client.repairPartitionTable(of: path, repair).isDone)
      #expect(
        backend.partitionRequests == [
          .initialize(initialize), .create(create), .delete(delete), .resize(resize), .set(set), .repair(repair),
        ])
      let missing = await #expect(throws: APIError.self) {
        try await client.partitionTable(of: VirtualDiskPath(pool: "tank", name: "none"))
      }
      #expect(missing?.code == .notFound)
    }
  }

  @Test func disksJobsAndEventsAreReached() async throws {
    let backend = FakeBackend()
    try await ServerHarness.run(backend) { (server) async throws in
      let client = server.client
      _ = try await client.createPool(CreatePool(name: "a pool", disks: ["/a", "/b"]))
      let add = AddDisks(disks: ["/c"], usage: .hotspare, force: true)
      #expect(try await client.addDisks(toPool: "a pool", add).disks.last?.usage == .hotspare)
      #expect(backend.addRequests == [add])
      #expect(try await client.scanDisks(ScanDisks(directory: "/d")).map(\.path) == ["/d/free", "/d/full"])
      #expect(try await client.scanDisks(ScanDisks()).map(\.canBePooled) == [true, false])
      let set = try await client.setUsage(SetDiskUsage(disk: DiskReference("/a", pool: "a pool"), usage: .retired))
      #expect(set.usage == .retired)
      let retire = try await client.retireDisk(DiskReference("/a"))
      #expect(retire.kind == .retire && retire.disk == "/a" && retire.number == 1)
      let replace = ReplaceDisk(old: DiskReference("/b", pool: "a pool"), new: "/n", force: true)
      #expect(try await client.replaceDisk(replace).disk == "/b")
      #expect(backend.replaceRequests == [replace])
      #expect(try await client.startJob(inPool: "a pool", StartJob(kind: .scrub)).kind == .scrub)
      #expect(try await client.jobs(ofPool: nil).count == 3)
      #expect(try await client.jobs(ofPool: "a pool").map(\.number) == [1, 2, 3])
      #expect(try await client.jobs(ofPool: "other") == [])
      try await client.cancelJob(inPool: "a pool", number: 3)
      #expect(try await client.jobs(ofPool: "a pool").last?.state == .cancelled)
      let missing = await #expect(throws: APIError.self) { try await client.cancelJob(inPool: "a pool", number: 9) }
      #expect(missing?.code == .notFound)
      let event = EventInfo(pool: "a pool", number: 1, seconds: 5, severity: .warning, name: "x", disk: "/a", message: "m")
      backend.setEvents([event])
      #expect(try await client.events(ofPool: nil) == [event])
      #expect(try await client.events(ofPool: "other") == [])
      _ = try await client.openPools(OpenPools(disks: ["/z"], acceptLosses: ["2"]))
      #expect(backend.openRequests.last?.acceptLosses == ["2"])
    }
  }

  @Test func errorsArriveWhole() async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      let missing = await #expect(throws: APIError.self) { try await server.client.pool(named: "x") }
      #expect(missing == APIError(.notFound, "There is no pool x", remedy: "Look at pool list"))
      _ = try await server.client.createPool(CreatePool(name: "x", disks: ["/a"]))
      let twin = await #expect(throws: APIError.self) { try await server.client.createPool(CreatePool(name: "x", disks: ["/a"])) }
      #expect(twin?.code == .alreadyExists)
    }
  }

  @Test(arguments: ["a b", "100%", "größe", "..", "a?b#c", "a;b=c", "%41", "tank/data"])
  func namesArriveWhole(name: String) async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      _ = try await server.client.createPool(CreatePool(name: name, disks: ["/a"]))
      #expect(try await server.client.pool(named: name).name == name)
    }
  }

  @Test(arguments: [
    (HTTPMethod.GET, "/v1/nope", ""), (.GET, "/", ""), (.GET, "/v2/status", ""), (.PUT, "/v1/pools", "{}"), (.DELETE, "/v1/status", ""),
    (.GET, "/v1/vdisks/a/b/c", ""),
  ])
  func unknownCallsAreNamed(method: HTTPMethod, target: String, body: String) async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      let error = try await refusal(server, HTTPExchange(method: method, target: target, body: Array(body.utf8)))
      #expect(error.status == 404)
      #expect(error.error.code == .notFound)
      #expect(error.error.message.contains("\(method.rawValue) \(target)"))
    }
  }

  @Test(arguments: [
    ("/v1/pools", "{", "not valid JSON"), ("/v1/pools", "", "not valid JSON"), ("/v1/pools", "[]", "type"),
    ("/v1/pools", #"{"name":"x","disks":[7],"force":false}"#, "disks"), ("/v1/pools", #"{"name":"x","disks":[]}"#, "\"force\" is missing"),
    ("/v1/vdisks", #"{"pool":"a","name":"b","sizeBytes":-1,"provisioning":"thin","resiliency":"simple"}"#, "negative"),
    ("/v1/vdisks", #"{"pool":"a","name":"b","sizeBytes":1e30,"provisioning":"thin","resiliency":"simple"}"#, "too large"),
    ("/v1/jobs/tank", #"{"kind":"repair"}"#, "cannot be asked for"), ("/v1/retire-disk", "{}", "\"disk\" is missing"),
    ("/v1/pools/tank/disks", #"{"disks":["/a"],"force":false}"#, "\"usage\" is missing"),
    ("/v1/open-pools", #"{"disks":[]}"#, "Neither"), ("/v1/open-pools", #"{"disks":["/a"],"scanDirectory":"/b"}"#, "both"),
  ])
  func badBodiesAreExplained(target: String, body: String, explanation: String) async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      let error = try await refusal(server, HTTPExchange(method: .POST, target: target, body: Array(body.utf8)))
      #expect(error.status == 400)
      #expect(error.error.code == .badRequest)
      #expect(error.error.message.contains(explanation), "\(error.error.message)")
    }
  }

  @Test func badRoutesAreExplained() async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      let error = try await refusal(server, HTTPExchange(method: .GET, target: "/v1/pools/%ff", body: nil))
      #expect(error.status == 400)
      #expect(error.error.message.contains("percent-encoded"))
    }
  }

  @Test func tooLargeBodiesAreRefused() async throws {
    try await ServerHarness.run(FakeBackend(), limits: .init(requestBodyByteCount: 1024)) { (server) async throws in
      let disks = (0..<1000).map { "/disk/\($0)" }
      let error = await #expect(throws: APIError.self) { try await server.client.createPool(CreatePool(name: "x", disks: disks)) }
      #expect(error?.code == .tooLarge)
      #expect(try await server.client.pools() == [])
    }
  }

  @Test func moreClientsThanConnectionsAreAllServed() async throws {
    try await ServerHarness.run(FakeBackend()) { (server) async throws in
      try await withThrowingTaskGroup(of: ServerStatus.self) { tasks in
        for _ in 0..<(Limits.connectionCount * 3) { tasks.addTask { try await server.client.status() } }
        for try await status in tasks { #expect(status.processID == 42) }
      }
    }
  }

  /// What a raw request is answered with, which has to be an error.
  private func refusal(_ server: ServerHarness, _ exchange: HTTPExchange) async throws -> (status: Int, error: APIError) {
    let answer = try await exchange.run(socketPath: server.socketPath, seconds: 10)
    return (answer.status, try JSON.decode(APIError.self, from: answer.body))
  }
}

extension PoolInfo {
  func with(_ change: (inout PoolInfo) -> Void) -> PoolInfo {
    var pool = self
    change(&pool)
    return pool
  }
}
