/// Checks the changes of one journal entry one commit after the other, and claims the room they need. What passes cannot fail later.
/// Replay plans an entry in the same way, and so puts everything where it was.
struct ChangePlan {
  private let pages: PageStore
  /// Of the keys that this entry puts or deletes so far: the value's byte count, -1 when deleted.
  private var sizes: [RecordKey: Int] = [:]
  private(set) var changes: [MetadataChange] = []
  /// For each change the page its room is claimed in, -1 when it needs none.
  private var claims: [Int32] = []
  private(set) var encodedByteCount = 0

  init(_ pages: PageStore) { self.pages = pages }

  /// Adds all changes of a commit or none.
  /// - Parameter reservedPageCount: pages that must stay empty.
  mutating func add(_ commit: [MetadataChange], reservedPageCount: Int) throws(MetadataError) {
    let startCount = changes.count
    let startBytes = encodedByteCount
    var undo: [(RecordKey, Int?)] = []
    do throws(MetadataError) {
      for change in commit { try add(change, reservedPageCount, &undo) }
    } catch {
      for (key, size) in undo.reversed() { sizes[key] = size }
      while changes.count > startCount {
        let claim = claims.removeLast()
        let change = changes.removeLast()
        if claim >= 0, case .put(let record) = change {
          pages.unclaim(RecordPage.byteCount(ofValue: record.value.count), in: Int(claim))
        }
      }
      encodedByteCount = startBytes
      throw error
    }
  }

  private mutating func add(_ change: MetadataChange, _ reservedPageCount: Int, _ undo: inout [(RecordKey, Int?)]) throws(MetadataError) {
    let key = change.key
    guard key.kind.rawValue != 0 else {
      throw MetadataError(.invalidChange, "Kind 0 is no kind of record.", remedy: "This is a defect of the program: please report it.")
    }
    var claim: Int32 = -1
    switch change {
    case .put(let record): claim = try plan(record, reservedPageCount, &undo)
    case .delete: remember(key, -1, &undo)
    case .patch(_, let byteOffset, let bytes), .setBits(_, let byteOffset, let bytes), .clearBits(_, let byteOffset, let bytes):
      try check(key, byteOffset, bytes.count)
    }
    changes.append(change)
    claims.append(claim)
    encodedByteCount += change.encodedByteCount
  }

  private mutating func remember(_ key: RecordKey, _ size: Int, _ undo: inout [(RecordKey, Int?)]) {
    undo.append((key, sizes[key]))
    sizes[key] = size
  }

  private mutating func plan(_ record: Record, _ reservedPageCount: Int, _ undo: inout [(RecordKey, Int?)]) throws(MetadataError) -> Int32 {
    guard record.value.count <= FormatLimits.recordValueByteCount else {
      throw MetadataError(
        .tooLarge, "The record \(record.key) has \(record.value.count) bytes; \(FormatLimits.recordValueByteCount) are the most.",
        remedy: "This is a defect of the program: please report it.")
    }
    let size = RecordPage.byteCount(ofValue: record.value.count)
    let present = presentByteCount(record.key)
    if let present, RecordPage.byteCount(ofValue: present) == size {
      if present != record.value.count { remember(record.key, record.value.count, &undo) }
      return -1
    }
    let emptyBefore = pages.emptyPageCount
    guard let page = pages.claim(size) else { throw full }
    if pages.emptyPageCount < emptyBefore, pages.emptyPageCount < reservedPageCount {
      pages.unclaim(size, in: page)
      throw full
    }
    remember(record.key, record.value.count, &undo)
    return Int32(page)
  }

  /// As it will be when the changes so far are applied; nil when it will not be there.
  private func presentByteCount(_ key: RecordKey) -> Int? {
    guard let size = sizes[key] else { return pages.valueByteCount(of: key) }
    return size < 0 ? nil : size
  }

  private var full: MetadataError {
    MetadataError(
      .metadataFull, "The pool's metadata area is full: \(pages.recordCount) records in \(pages.pageCount) pages.",
      remedy: "Delete a virtual disk, or make the pool anew with larger slabs.")
  }

  private func check(_ key: RecordKey, _ byteOffset: Int, _ byteCount: Int) throws(MetadataError) {
    guard let present = presentByteCount(key), byteOffset >= 0, byteCount <= present, byteOffset <= present - byteCount else {
      throw MetadataError(
        .invalidChange,
        "Bytes \(byteOffset) and \(byteCount) on of the record \(key) cannot be changed: it has \(presentByteCount(key) ?? 0).",
        remedy: "This is a defect of the program: please report it.")
    }
  }

  /// After the entry is durable.
  func apply() {
    for (index, change) in changes.enumerated() { pages.apply(change, claimed: claims[index] < 0 ? nil : Int(claims[index])) }
  }

  /// The entry will not be written: gives back the room.
  func abandon() {
    for (index, change) in changes.enumerated() where claims[index] >= 0 {
      if case .put(let record) = change { pages.unclaim(RecordPage.byteCount(ofValue: record.value.count), in: Int(claims[index])) }
    }
  }
}
