import CLinux
import PhysicalDisk
import Reactor
import TestSupport
import Testing

@Suite struct ScannerTests {
  private let guid = "5a6b7c8d-0123-4567-89ab-cdef01234567"

  @Test func everyFileOfADirectoryIsListedWithItsObstacles() async throws {
    let directory = try TemporaryDirectory()
    let test = try TestReactor()
    let scanner = DiskScanner(poolPartitionTypes: [guid], minimumByteCount: 8 << 20)
    _ = try directory.sparseFile("free", byteCount: 16 << 20)
    _ = try directory.sparseFile("small", byteCount: 1 << 20)
    let pooled = try directory.sparseFile("pooled", byteCount: 16 << 20)
    try #require(try run("sgdisk", "-n", "1:2048:0", "-t", "1:\(guid)", "-c", "1:tank", pooled).status == 0)
    let used = try directory.sparseFile("used", byteCount: 16 << 20)
    try #require(try run("mkfs.ext4", "-q", "-L", "holiday", used).status == 0)
    let open = try await test.open(try directory.sparseFile("open", byteCount: 16 << 20))
    try #require(symlink("free", directory.path + "/zlink") == 0)
    try #require(mkdir(directory.path + "/folder", 0o700) == 0)

    let found = try await test.reactor.run { () async throws(DiskOpenError) -> [DiskCandidate] in
      try await scanner.disks(in: directory.path, on: test.blocking)
    }
    let byName = Dictionary(uniqueKeysWithValues: found.map { ($0.path.split(separator: "/").last.map(String.init) ?? "", $0) })
    #expect(byName.keys.sorted() == ["free", "open", "pooled", "small", "used"], "each disk once, no folders")
    #expect(byName["free"]?.canBePooled == true)
    #expect(byName["free"]?.byteCount == 16 << 20)
    #expect(byName["small"]?.obstacles == [.insufficientCapacity(byteCount: 1 << 20, minimum: 8 << 20)])
    #expect(byName["pooled"]?.obstacles == [.inPool(name: "tank")])
    #expect(byName["used"]?.obstacles.first?.description.contains("ext4 file system \"holiday\"") == true)
    #expect(byName["open"]?.obstacles == [.inUse("by another server (locked by this server itself)")])
    #expect(byName["open"]?.identity == open.identity)
    // Looking has not taken anything.
    let free = try await test.open(directory.path + "/free")
    await test.reactor.run {
      await free.close()
      await open.close()
    }
  }

  @Test func aMissingDirectoryIsAnError() async throws {
    let test = try TestReactor()
    let scanner = DiskScanner(poolPartitionTypes: [], minimumByteCount: 0)
    await #expect(throws: DiskOpenError.self) {
      try await test.reactor.run { () async throws(DiskOpenError) -> Void in
        _ = try await scanner.disks(in: "/nonexistent", on: test.blocking)
      }
    }
  }

  @Test(.enabled(if: LoopDevice.isAvailable, "needs loop devices"))
  func loopDevicesAreListedWithTheirUse() async throws {
    let free = try LoopDevice(sector: 4096)
    let mounted = try LoopDevice(sector: 512)
    let directory = try TemporaryDirectory()
    try #require(try run("mkfs.ext4", "-q", mounted.path).status == 0)
    try #require(try run("mount", mounted.path, directory.path).status == 0)
    defer { _ = try? run("umount", directory.path) }
    let test = try TestReactor()
    let scanner = DiskScanner(poolPartitionTypes: [], minimumByteCount: 0)
    let found = await test.reactor.run { await scanner.blockDevices(on: test.blocking) }
    let first = found.first { $0.path == free.path }
    #expect(first?.obstacles == [])
    #expect(first?.kind == .blockDevice && first?.byteCount == 64 << 20)
    let second = found.first { $0.path == mounted.path }
    #expect(second?.obstacles.contains(.inUse("mounted on \(directory.path)")) == true)
    #expect(!found.contains { $0.path.hasPrefix("/dev/loop") && $0.byteCount == 0 })
  }
}
