import BlockDevice
import PartitionTable
import Testing

@testable import Volume

/// Disks that are given up while they read a table.
@Suite struct StalledTableTests {
  @Test func anotherCopyIsAskedWhenADiskIsGivenUp() async throws {
    try await PartitionRig.run { rig in
      let table = try PartitionRig.table()
      try await rig.write(table)
      let tries = VolumeLimits.stalledReadRetries + 1
      rig.disk.stalledReads = tries - 1
      #expect(await PartitionTableIO.scan(rig.disk, IORequest()).gpt == table)
      #expect(rig.disk.stalledReads == 0)
      var bytes: [UInt8] = []
      rig.disk.stalledReads = tries
      let before = rig.disk.readCount
      await #expect(throws: BlockError(.stalled)) {
        try await PartitionTableIO.readPiece(at: 0, byteCount: 512, of: rig.disk, IORequest(), into: &bytes)
      }
      #expect(rig.disk.readCount == before + tries && bytes.isEmpty)
      // Nothing else is tried again.
      rig.disk.failure = BlockError(.ioFailed)
      await #expect(throws: BlockError(.ioFailed)) {
        try await PartitionTableIO.readPiece(at: 0, byteCount: 512, of: rig.disk, IORequest(), into: &bytes)
      }
      #expect(rig.disk.readCount == before + tries + 1)
    }
  }

  /// What the disk may still write to is not believed, and not used again.
  @Test func aBufferThatADiskKeepsIsLeftToIt() async throws {
    try await PartitionRig.run { rig in
      let table = try PartitionRig.table()
      try await rig.write(table)
      let reserved = rig.volume.reactor.buffers.reservedByteCount
      rig.disk.keptBuffers = VolumeLimits.stalledReadRetries
      #expect(await PartitionTableIO.scan(rig.disk, IORequest()).gpt == table)
      #expect(rig.disk.keptBuffers == 0 && rig.volume.reactor.buffers.reservedByteCount > reserved)
      rig.disk.giveBuffersBack()
      #expect(rig.volume.reactor.buffers.reservedByteCount == reserved)
    }
  }
}
