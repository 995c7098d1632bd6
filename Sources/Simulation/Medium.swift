import CLinux

/// Where an operation's content comes from.
enum ContentSource {
  /// Bytes of `payload`, from `offset` on.
  case bytes(Payload, offset: Int)
  case zeros
  /// Noise that depends only on the number and the place.
  case garbage(UInt64)

  func advanced(by byteCount: Int) -> ContentSource {
    if case .bytes(let payload, let offset) = self { return .bytes(payload, offset: offset + byteCount) }
    return self
  }
}

/// A copy of what a write carried, shared by the pages it touched until they are flushed.
final class Payload {
  let start: UnsafeMutableRawPointer

  init(copying bytes: UnsafeRawBufferPointer) {
    start = .allocate(byteCount: max(1, bytes.count), alignment: 8)
    if let source = bytes.baseAddress { start.copyMemory(from: source, byteCount: bytes.count) }
  }

  deinit { start.deallocate() }
}

/// The content of a simulated disk: what is on stable storage, and what completed since and lies in the cache of the disk. Sparse, by
/// pages of 4096 bytes; versions are kept by sectors of 512.
final class Medium {
  private static let sectorByteCount = 512
  private static let pageByteCount = SimulationLimits.pageByteCount

  /// What an operation that is not yet durable did to one page.
  private struct Version {
    var sequence: UInt64
    var source: ContentSource
    /// Offset in the page to which the source's beginning belongs.
    var start: Int
    /// One bit for each sector of the page.
    var sectors: UInt8
    /// A flush that should have covered it failed: no later flush makes it durable.
    var isDoomed = false
  }

  private final class Page {
    let number: UInt64
    /// What a read sees.
    let current = UnsafeMutableRawPointer.allocate(byteCount: Medium.pageByteCount, alignment: 8)
    /// What is on stable storage, where that may differ.
    var durable: UnsafeMutableRawPointer?
    var versions: [Version] = []

    init(number: UInt64) { self.number = number }

    deinit {
      current.deallocate()
      durable?.deallocate()
    }
  }

  private var pages: [UInt64: Page] = [:]
  /// Pages with `durable`, in the order in which they came to have it.
  private var dirty: [Page] = []
  /// Number of the operation that completed last.
  private(set) var lastSequence: UInt64 = 0
  private let initialGarbage: UInt64?

  /// With `initialGarbage`, what was never written reads as noise made from that number, as on a disk with a past; else as zeros.
  init(initialGarbage: UInt64?) { self.initialGarbage = initialGarbage }

  // MARK: Operations

  func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) {
    guard let base = bytes.baseAddress else { return }
    forEachPart(offset, UInt64(bytes.count)) { number, start, byteCount, done in
      if let page = pages[number] {
        (base + done).copyMemory(from: page.current + start, byteCount: byteCount)
      } else {
        let source: ContentSource = initialGarbage.map { .garbage($0) } ?? .zeros
        Medium.copy(source, to: base + done, page: number, start: start, byteCount: byteCount)
      }
    }
  }

  /// A number for an operation that completes now; its parts are written under it.
  func nextSequence() -> UInt64 {
    lastSequence += 1
    return lastSequence
  }

  /// Changes what reads see; it is durable at once with `isDurable`, else after a flush that begins later.
  func write(_ source: ContentSource, at offset: UInt64, byteCount: UInt64, sequence: UInt64, isDurable: Bool) {
    forEachPart(offset, byteCount) { number, start, partByteCount, done in
      if pages[number] == nil {
        if case .zeros = source, initialGarbage == nil { return }
        if case .garbage = source { return }  // undefined content: it may as well stay what it is
      }
      let page = existingPage(number)
      let part = source.advanced(by: done)
      let sectors = Medium.mask(start: start, byteCount: partByteCount)
      if isDurable {
        for index in page.versions.indices { page.versions[index].sectors &= ~sectors }
        if let durable = page.durable { Medium.copy(part, to: durable + start, page: number, start: start, byteCount: partByteCount) }
      } else {
        makeDirty(page)
        page.versions.append(Version(sequence: sequence, source: part, start: start, sectors: sectors))
      }
      Medium.copy(part, to: page.current + start, page: number, start: start, byteCount: partByteCount)
    }
  }

  /// A flush has succeeded: what had completed when it began, up to `sequence`, is durable.
  func makeDurable(upTo sequence: UInt64) {
    for page in dirty {
      guard let durable = page.durable else { continue }
      for index in page.versions.indices where page.versions[index].sequence <= sequence && !page.versions[index].isDoomed {
        Medium.apply(page.versions[index], sectors: page.versions[index].sectors, of: page.number, to: durable)
        for earlier in 0..<index { page.versions[earlier].sectors &= ~page.versions[index].sectors }
        page.versions[index].sectors = 0
      }
      page.versions.removeAll { $0.sectors == 0 }
    }
    removeCleanPages()
  }

  /// A flush has failed: what it should have made durable never will be by a later flush. With `isGoneNow` reads see the old content at
  /// once, else only after the power was cut.
  func failFlush(upTo sequence: UInt64, isGoneNow: Bool) {
    for page in dirty {
      guard let durable = page.durable else { continue }
      for index in page.versions.indices where page.versions[index].sequence <= sequence { page.versions[index].isDoomed = true }
      guard isGoneNow else { continue }
      page.versions.removeAll { $0.isDoomed }
      page.current.copyMemory(from: durable, byteCount: Medium.pageByteCount)
      for version in page.versions { Medium.apply(version, sectors: version.sectors, of: page.number, to: page.current) }
    }
    removeCleanPages()
  }

  /// What becomes of one unflushed operation when the power goes.
  enum Fate { case kept, lost, torn }

  /// The power goes: every operation that is not durable is kept, lost or torn as `fate` says (asked in the order of their completion);
  /// a torn one is kept by pieces of `atomicUnit` bytes, each as `coin` falls.
  func losePower(atomicUnit: Int, fate: (UInt64) -> Fate, coin: () -> Bool) {
    var sequences = Set<UInt64>()
    for page in dirty { for version in page.versions where version.sectors != 0 { sequences.insert(version.sequence) } }
    var fates: [UInt64: Fate] = [:]
    for sequence in sequences.sorted() { fates[sequence] = fate(sequence) }
    let sectorsPerUnit = max(1, atomicUnit / Medium.sectorByteCount)
    for page in dirty {
      guard let durable = page.durable else { continue }
      for version in page.versions {
        var sectors: UInt8 = 0
        switch fates[version.sequence] ?? .lost {
        case .lost: break
        case .kept: sectors = version.sectors
        case .torn:
          for unit in stride(from: 0, to: 8, by: sectorsPerUnit) where coin() {
            for sector in unit..<min(8, unit + sectorsPerUnit) { sectors |= version.sectors & (1 << sector) }
          }
        }
        Medium.apply(version, sectors: sectors, of: page.number, to: durable)
      }
      page.versions.removeAll()
      page.current.copyMemory(from: durable, byteCount: Medium.pageByteCount)
    }
    removeCleanPages()
  }

  /// Another medium with the same content, cache and all made durable.
  func copyOfCurrent() -> Medium {
    let copy = Medium(initialGarbage: initialGarbage)
    for (number, page) in pages {
      let twin = Page(number: number)
      twin.current.copyMemory(from: page.current, byteCount: Medium.pageByteCount)
      copy.pages[number] = twin
    }
    return copy
  }

  var hasUnflushed: Bool { dirty.contains { !$0.versions.isEmpty } }

  // MARK: Pages

  private func existingPage(_ number: UInt64) -> Page {
    if let page = pages[number] { return page }
    let page = Page(number: number)
    let source: ContentSource = initialGarbage.map { .garbage($0) } ?? .zeros
    Medium.copy(source, to: page.current, page: number, start: 0, byteCount: Medium.pageByteCount)
    pages[number] = page
    return page
  }

  private func makeDirty(_ page: Page) {
    guard page.durable == nil else { return }
    let durable = UnsafeMutableRawPointer.allocate(byteCount: Medium.pageByteCount, alignment: 8)
    durable.copyMemory(from: page.current, byteCount: Medium.pageByteCount)
    page.durable = durable
    dirty.append(page)
  }

  private func removeCleanPages() {
    dirty.removeAll { page in
      guard page.versions.isEmpty else { return false }
      page.durable?.deallocate()
      page.durable = nil
      return true
    }
  }

  /// Calls `body` with (page, start in the page, bytes, bytes done before) for each page of the range.
  private func forEachPart(_ offset: UInt64, _ byteCount: UInt64, _ body: (UInt64, Int, Int, Int) -> Void) {
    let pageBytes = UInt64(Medium.pageByteCount)
    var done: UInt64 = 0
    while done < byteCount {
      let start = (offset + done) % pageBytes
      let part = min(pageBytes - start, byteCount - done)
      body((offset + done) / pageBytes, Int(start), Int(part), Int(done))
      done += part
    }
  }

  private static func mask(start: Int, byteCount: Int) -> UInt8 {
    let first = start / sectorByteCount
    let count = byteCount / sectorByteCount
    return UInt8(truncatingIfNeeded: ((1 << count) - 1) << first)
  }

  private static func apply(_ version: Version, sectors: UInt8, of page: UInt64, to target: UnsafeMutableRawPointer) {
    var sector = 0
    while sector < 8 {
      guard sectors & (1 << sector) != 0 else {
        sector += 1
        continue
      }
      let first = sector
      while sector < 8 && sectors & (1 << sector) != 0 { sector += 1 }
      let start = first * sectorByteCount
      copy(
        version.source.advanced(by: start - version.start), to: target + start, page: page, start: start,
        byteCount: (sector - first) * sectorByteCount)
    }
  }

  private static func copy(_ source: ContentSource, to target: UnsafeMutableRawPointer, page: UInt64, start: Int, byteCount: Int) {
    switch source {
    case .bytes(let payload, let offset): target.copyMemory(from: payload.start + offset, byteCount: byteCount)
    case .zeros: memset(target, 0, byteCount)
    case .garbage(let seed):
      for sector in 0..<byteCount / sectorByteCount {
        let place = page &* 8 &+ UInt64(start / sectorByteCount + sector)
        fill(target + sector * sectorByteCount, byteCount: sectorByteCount, SeededRandom.mix(seed ^ SeededRandom.mix(place)))
      }
    }
  }

  /// Fills with copies of one word; by doubling, because a loop over words is slow without the optimiser.
  private static func fill(_ target: UnsafeMutableRawPointer, byteCount: Int, _ word: UInt64) {
    target.storeBytes(of: word, as: UInt64.self)
    var filled = 8
    while filled < byteCount {
      let part = min(filled, byteCount - filled)
      memcpy(target + filled, target, part)
      filled += part
    }
  }
}
