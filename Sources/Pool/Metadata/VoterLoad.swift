import BlockDevice
import Reactor

/// Everything but the record pages of one voter, as read from its disk.
final class VoterLoad: @unchecked Sendable {  // reactor-confined
  let disk: PoolDisk
  private(set) var root: CheckpointRoot?
  private(set) var tables: [PageReference] = []
  private(set) var references: [PageReference] = []
  private(set) var journal: JournalScan?
  /// The journal's bytes, until the replay has used them.
  private(set) var ring: MemoryBlock?
  /// What is wrong with this voter, in words; empty when nothing was found.
  private(set) var damage: [String] = []
  /// The newest root's place holds damage: this voter's past may look shorter than it is.
  private var isRootDamaged = false

  init(_ disk: PoolDisk) { self.disk = disk }

  /// The last entry it can show, 0 without a good root.
  var lastSequence: UInt64 { journal?.lastSequence ?? 0 }
  /// What it proves to be committed.
  var committed: UInt64 { max(journal?.committed ?? 0, root?.committed ?? 0) }
  /// The highest epoch in which its checkpoint or one of the entries behind it was written.
  var newestEpochNumber: UInt64 { max(root?.epochNumber ?? 0, journal?.entries.last?.header.epochNumber ?? 0) }
  /// It is whole up to its last entry, as far as this was looked at.
  var isUsable: Bool { journal != nil && references.count == disk.layout.pageCount }

  func add(damage: String) { self.damage.append(damage) }

  func dropRing() { ring = nil }

  /// Whether what it lacks up to `committed` was lost here, and not just never written here.
  func lacksByDamage(committed: UInt64) -> Bool {
    guard let journal, !isRootDamaged else { return true }
    return !damage.isEmpty || journal.highestSequence > journal.lastSequence
  }

  func read() async {
    await readRoots()
    guard let root else { return add(damage: "no whole checkpoint root") }
    await readTables(root)
    do throws(BlockError) {
      let layout = disk.layout
      let ring = try await MetadataIO.read(disk.device, at: layout.journalOffset, byteCount: Int(layout.journalByteCount))
      journal = JournalScan(ring.bytes.readOnly, root: root, owner: disk.owner)
      self.ring = ring
    } catch { add(damage: "the journal cannot be read: \(error)") }
  }

  private func readRoots() async {
    for (place, offset) in disk.layout.rootOffsets.enumerated() {
      do throws(BlockError) {
        let block = try await MetadataIO.read(disk.device, at: offset, byteCount: CheckpointRoot.byteCount)
        do throws(FormatError) {
          let found = try CheckpointRoot(block.bytes.readOnly, owner: disk.owner, layout: disk.layout, place: place)
          if found.sequence > root?.sequence ?? 0 { root = found }
        } catch { if error != .empty { isRootDamaged = true } }
      } catch { isRootDamaged = true }
    }
  }

  private func readTables(_ root: CheckpointRoot) async {
    let layout = disk.layout
    var all: [PageReference] = []
    all.reserveCapacity(layout.pageCount)
    for (index, reference) in root.tables.enumerated() {
      let count = min(FormatLimits.entriesPerPageTable, layout.pageCount - index * FormatLimits.entriesPerPageTable)
      if reference.isNone {
        all.append(contentsOf: repeatElement(.none, count: max(0, count)))
        continue
      }
      do throws(BlockError) {
        let offset = layout.pageTableOffset(index, slot: Int(reference.slot))
        let block = try await MetadataIO.read(disk.device, at: offset, byteCount: PageTablePage.byteCount)
        do throws(FormatError) {
          all += try PageTablePage.decode(block.bytes.readOnly, reference, owner: disk.owner, index: index, count: count)
        } catch { return add(damage: "page table \(index): \(error)") }
      } catch { return add(damage: "page table \(index): \(error)") }
    }
    tables = root.tables
    references = all
  }

  // MARK: Pages

  /// Loads all pages of the checkpoint into `pages`. False where they are not whole: `damage` says why.
  func fill(_ pages: PageStore) async -> Bool {
    var isGood = true
    await forEachPage { page, bytes, used in
      if let bytes {
        if !pages.load(bytes, page: page, used: used) {
          add(damage: "page \(page) holds a record that another page holds too")
          isGood = false
        }
      } else if !references[page].isNone {
        isGood = false
      }
    }
    return isGood
  }

  /// Reads every page of the checkpoint and hands it, checked, to `body` with the bytes it uses; nil where the page is damaged or absent.
  /// While one stretch of pages is worked on, the disk reads the next.
  func forEachPage(_ body: (Int, UnsafeRawBufferPointer?, _ used: Int) -> Void) async {
    let pagesPerStretch = StoreLimits.transferByteCount / PageStretch.pairByteCount
    var ahead: [(stretch: PageStretch, reading: Task<Void, Never>)] = []
    var next = 0
    while next < disk.layout.pageCount || !ahead.isEmpty {
      while next < disk.layout.pageCount && ahead.count < StoreLimits.pageReadAhead {
        let stretch = PageStretch(pages: next..<min(next + pagesPerStretch, disk.layout.pageCount))
        ahead.append((stretch, disk.device.reactor.spawn { [self] in await read(stretch) }))
        next = stretch.pages.upperBound
      }
      let (stretch, reading) = ahead.removeFirst()
      await reading.value
      for page in stretch.pages {
        var used: Int?
        let bytes = stretch.bytes(of: page, slot: Int(references[page].slot))
        if !references[page].isNone, let bytes { used = checkedUse(bytes, references[page], page) }
        body(page, used == nil ? nil : bytes, used ?? 0)
      }
      stretch.releaseBuffer(disk.device.reactor)
    }
  }

  /// Of a stretch only from the first to the last page that is there.
  private func read(_ stretch: PageStretch) async {
    let present = stretch.pages.filter { !references[$0].isNone }
    guard let low = present.first, let high = present.last else { return }
    let slice = await stretch.acquireBuffer(disk.device.reactor)
    let pair = PageStretch.pairByteCount
    let part = slice.part(from: (low - stretch.pages.lowerBound) * pair, byteCount: (high + 1 - low) * pair)
    do throws(BlockError) {
      try await disk.device.read(at: disk.layout.pageOffset(low, slot: 0), into: part, MetadataIO.request)
    } catch { await readSingly(present, stretch) }
  }

  private func checkedUse(_ bytes: UnsafeRawBufferPointer, _ reference: PageReference, _ page: Int) -> Int? {
    do throws(FormatError) { return try RecordPage.check(bytes, reference, owner: disk.owner, page: page) } catch {
      add(damage: "page \(page): \(error)")
      return nil
    }
  }

  /// A large read failed: one bad sector must not cost the pages around it. Into another buffer: a disk that hangs may hold the first.
  private func readSingly(_ pages: [Int], _ stretch: PageStretch) async {
    stretch.releaseBuffer(disk.device.reactor)
    _ = await stretch.acquireBuffer(disk.device.reactor)
    for page in pages {
      let slot = Int(references[page].slot)
      guard let part = stretch.slice(of: page, slot: slot) else { continue }
      do throws(BlockError) {
        try await disk.device.read(at: disk.layout.pageOffset(page, slot: slot), into: part, MetadataIO.request)
      } catch {
        add(damage: "page \(page) cannot be read: \(error)")
        stretch.unreadable.insert(page)
      }
    }
  }
}

/// Neighbouring pages, both slots of each, that are read in one piece.
private final class PageStretch: @unchecked Sendable {  // reactor-confined
  static let pairByteCount = 2 * FormatLimits.pageByteCount
  let pages: Range<Int>
  var unreadable: Set<Int> = []
  private var buffer: BufferSlice?

  init(pages: Range<Int>) { self.pages = pages }

  func acquireBuffer(_ reactor: any Reactor) async -> BufferSlice {
    let acquired = await reactor.buffers.acquire(byteCount: pages.count * PageStretch.pairByteCount)
    buffer = acquired
    return acquired
  }

  func releaseBuffer(_ reactor: any Reactor) {
    if let buffer { reactor.buffers.release(buffer.buffer) }
    buffer = nil
  }

  func slice(of page: Int, slot: Int) -> BufferSlice? {
    buffer?.part(
      from: (2 * (page - pages.lowerBound) + slot) * FormatLimits.pageByteCount, byteCount: FormatLimits.pageByteCount)
  }

  /// nil when that was not to be read, or could not be.
  func bytes(of page: Int, slot: Int) -> UnsafeRawBufferPointer? {
    unreadable.contains(page) ? nil : slice(of: page, slot: slot)?.bytes.readOnly
  }
}
