import Management
import Synchronization
import Testing

@testable import spaceport

/// Making and growing volumes, by a server that keeps what it is told and that no kernel can reach.
@Suite struct VolumeStepTests {
  private static let path = VirtualDiskPath(pool: "tank", name: "data")

  private static func backend(beforeStatus: @escaping @Sendable () async -> Void = {}) async throws -> FakeBackend {
    let backend = FakeBackend(beforeStatus: beforeStatus)
    _ = try await backend.createPool(CreatePool(name: "tank", disks: ["/a"]))
    return backend
  }

  private static let first = PartitionInfo(number: 1, type: "linux", typeID: "", firstSector: 2048, lastSector: 22527, sizeBytes: 10 << 20)

  private static func table(_ kind: PartitionTableInfo.Kind = .gpt) -> PartitionTableInfo {
    PartitionTableInfo(
      pool: "tank", virtualDisk: "data", sizeBytes: 20 << 20, sectorBytes: 512, kind: kind, alignmentBytes: 1 << 20, partitions: [first])
  }

  // MARK: Growing

  /// - Returns: the virtual disk's size afterwards.
  private func grow(_ backend: FakeBackend, to size: UInt64, expect words: String?) async throws -> UInt64 {
    let interruption = await Interruption(remedy: "")
    defer { interruption.end() }
    if (try? await backend.virtualDisk(at: Self.path)) == nil {
      _ = try await backend.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 20 << 20))
    }
    let growth = VolumeGrowth(storage: backend, path: VolumePath(disk: Self.path, partition: "1"), byteCount: size, isShared: true)
    do throws(APIError) {
      let done = try await growth.run(interruption)
      #expect(words == nil, "it succeeded: \(done)")
    } catch {
      #expect(words.map(error.description.contains) == true, "\(error)")
    }
    return try await backend.virtualDisk(at: Self.path).sizeBytes
  }

  @Test func theDiskGrowsOnlyWhereThePartitionCan() async throws {
    let backend = try await Self.backend()
    backend.setPartitionTable(Self.table(.mbr))
    #expect(try await grow(backend, to: 30 << 20, expect: "GPT only") == 20 << 20)
    var table = Self.table()
    table.findings = ["the primary GPT is not usable"]
    backend.setPartitionTable(table)
    #expect(try await grow(backend, to: 30 << 20, expect: "is not usable") == 20 << 20)
    table.findings = []
    table.partitions.append(PartitionInfo(number: 2, type: "linux", typeID: "", firstSector: 30000, lastSector: 30001, sizeBytes: 1024))
    backend.setPartitionTable(table)
    #expect(try await grow(backend, to: 30 << 20, expect: "partition 2 lies behind") == 20 << 20)
    #expect(try await grow(backend, to: 20 << 20, expect: nil) == 20 << 20, "where it does not grow it needs no room")
    backend.setPartitionTable(Self.table())
    #expect(try await grow(backend, to: 30 << 20, expect: nil) == 30 << 20)
  }

  /// What is not known is not called done.
  @Test func contentThatIsNotKnownIsAFailure() async throws {
    let backend = try await Self.backend()
    var volume = Samples.volume()
    (volume.content, volume.problem) = (nil, "libblkid's process cannot be started")
    backend.setVolume(volume)
    backend.setPartitionTable(Self.table())
    _ = try await grow(backend, to: 30 << 20, expect: "cannot be started")
  }

  @Test func whatOthersHaveOpenDoesNotGrow() async throws {
    let backend = try await Self.backend()
    backend.setPartitionTable(Self.table())
    _ = try await backend.createVirtualDisk(CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 20 << 20))
    let interruption = await Interruption(remedy: "")
    defer { interruption.end() }
    let growth = VolumeGrowth(storage: backend, path: VolumePath(disk: Self.path, partition: nil), byteCount: 30 << 20, isShared: false)
    await #expect { try await growth.run(interruption) } throws: { "\($0)".contains("--shared") }
    #expect(try await backend.virtualDisk(at: Self.path).sizeBytes == 20 << 20)
  }

  // MARK: Making

  private func create(_ backend: FakeBackend) async -> (error: APIError?, said: [String]) {
    let interruption = await Interruption(remedy: "")
    defer { interruption.end() }
    let said = Mutex<[String]>([])
    let creation = VolumeCreation(
      storage: backend, request: CreateVirtualDisk(pool: "tank", name: "data", sizeBytes: 20 << 20), kind: .ext4, label: nil,
      connections: 4, command: { "spaceport \($0) --control /c" }, report: { sentence in said.withLock { $0.append(sentence) } })
    do throws(APIError) {
      _ = try await creation.run(interruption)
      return (nil, said.withLock { $0 })
    } catch {
      return (error, said.withLock { $0 })
    }
  }

  @Test func whatWasMadeIsDeletedAgain() async throws {
    let backend = try await Self.backend()
    let (error, said) = await create(backend)
    #expect(error != nil && said == ["Virtual disk tank/data is deleted again."])
    await #expect(throws: APIError.self) { try await backend.virtualDisk(at: Self.path) }
  }

  /// Deleted by somebody, and another made under its name, while the volume was made.
  @Test func anotherDiskOfTheNameIsLeftAlone() async throws {
    let known = Mutex<FakeBackend?>(nil)
    let backend = try await Self.backend(beforeStatus: { known.withLock { $0?.setUUID("another", of: Self.path) } })
    known.withLock { $0 = backend }
    let (error, said) = await create(backend)
    #expect(error != nil && said == ["tank/data is another virtual disk by now, and is left as it is."])
    #expect(try await backend.virtualDisk(at: Self.path).uuid == "another")
  }

  @Test func whatMayHaveBeenMadeIsTold() async throws {
    let backend = try await Self.backend()
    backend.setCreateFailure(APIError(.timedOut, "The server did not answer within 30 s", remedy: ""))
    let (error, _) = await create(backend)
    let words = "may have been made all the same. See whether it is there: spaceport vdisk show tank/data --control /c"
    #expect(error?.description.contains(words) == true)
  }
}
