import BlockDevice
import Reactor
import Testing

@testable import Pool

/// Each of the things that tell an entry of the present from one of a past lap, owner or place is enough by itself.
@Suite struct JournalScanTests {
  @Test func onlyTheEntriesThatContinueTheCheckpointCount() async throws {
    try await TestPool.run { reactor in
      let pool = try await TestPool.make(reactor, disks: 1)
      let disks = pool.disks()
      let store = try await pool.open(disks)
      for number in 0..<3 { try await store.commit([put(number, [1])]) }
      let load = VoterLoad(store.disks[0])
      await load.read()
      let root = try #require(load.root)
      let ring = try #require(load.ring).bytes
      func entryCount(_ change: (inout CheckpointRoot) -> Void) -> Int {
        var changed = root
        change(&changed)
        return JournalScan(ring.readOnly, root: changed, owner: load.disk.owner).entries.count
      }
      #expect(entryCount { _ in } == 4)  // the opening's own is the first
      #expect(entryCount { $0.ownerTerm ^= 1 } == 0)
      #expect(entryCount { $0.chain ^= 1 } == 0)
      #expect(entryCount { $0.applied += 1 } == 0)
      #expect(entryCount { $0.journalPosition += 8192 } == 0)
      // What an entry calls committed is true in any case.
      var other = root
      other.ownerTerm ^= 1
      let scan = JournalScan(ring.readOnly, root: other, owner: load.disk.owner)
      #expect(scan.committed == root.applied + 3)
      #expect(scan.highestSequence == root.applied + 4)
      // An entry in another place than it was written for, and a copy from another disk.
      let start = Int(root.journalPosition)
      let moved = MemoryBlock(byteCount: ring.count)
      moved.bytes.zero()
      UnsafeMutableRawBufferPointer(rebasing: moved.bytes[start + 4096..<start + 8192])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: ring.readOnly[start..<start + 4096]))
      var later = root
      later.journalPosition += 4096
      #expect(JournalScan(moved.bytes.readOnly, root: later, owner: load.disk.owner).entries.isEmpty)
      let stranger = StructureOwner(pool: load.disk.owner.pool, disk: DiskID.random(reactor))
      #expect(JournalScan(ring.readOnly, root: root, owner: stranger).entries.isEmpty)
      await store.close()
    }
  }
}
