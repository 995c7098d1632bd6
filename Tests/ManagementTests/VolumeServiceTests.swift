import Logging
import Management
import Service
import TestSupport
import Testing

/// Volumes of the storage service itself, without a program to look at what is on them.
@Suite struct VolumeServiceTests {
  /// Who waits no longer is looked nothing up for: each partition would take a process.
  @Test func nothingIsLookedAtWhenTheTimeIsOver() async throws {
    let directory = try TemporaryDirectory()
    let disk = try directory.sparseFile(byteCount: 256 << 20)
    let service = try await StorageService.start(stateDirectory: directory.file("state"), logger: Logger(label: "test"))
    let path = VirtualDiskPath(pool: "tank", name: "disk")
    _ = try await service.createPool(CreatePool(name: "tank", disks: [disk]))
    _ = try await service.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "disk", sizeBytes: 64 << 20))
    _ = try await service.initPartitionTable(of: path, InitPartitionTable())
    for _ in 0..<3 { _ = try await service.createPartition(on: path, CreatePartition(size: PartitionSize(bytes: 4 << 20))) }
    let listed = try await service.volumesWithoutContent(of: path)
    #expect(listed.map(\.name) == ["tank/disk/1", "tank/disk/2", "tank/disk/3"])
    #expect(listed.allSatisfy { $0.content == nil && $0.problem == nil && $0.sizeBytes == 4 << 20 })
    let late = Task {
      withUnsafeCurrentTask { $0?.cancel() }
      return (try await service.volumes(of: path), try await service.volumes(ofPool: nil))
    }
    let found = try await late.value
    #expect(found.0.isEmpty && found.1.isEmpty)
    #expect(await service.stop())
  }
}
