import BlockDevice
import PartitionTable
import Reactor

/// The partition table of a disk as it is now, and those of its partitions that clients have open.
///
/// Clients of the whole disk may write the table at any time. Such a write is answered only when the table was read again and every open
/// partition that it does not bear out any more is withdrawn and has come to rest; then those that the table has made longer grow. A table that cannot be made sense of (a tool writes it piece by
/// piece) changes nothing for those that are open, and lets none be opened.
///
/// Of what is read only that is remembered which opening partitions takes, until something is written there. Only while partitions are open is it
/// read again at once.
public final class PartitionWatch: @unchecked Sendable {  // reactor-confined
  private let disk: BlockDevice
  private let request: IORequest
  /// What the newest scan depends on, and what the one under way has read so far.
  private var areas = TableAreas()
  /// Rises with every write to the table that has ended: how the table is known apart from what it was.
  private var generation: UInt64 = 1
  /// A scan that began with this generation, or a later one, has been made and acted upon.
  private var judgedGeneration: UInt64 = 0
  /// What the table is; nil when it has to be read again.
  private var current: KnownTable?
  /// A table of ours is being written: nothing that is found now is relied on.
  private var isBeingWritten = false
  private var writeWaiters = WaitQueue()
  private var isScanning = false
  private var scanWaiters = WaitQueue()
  private var scanWaiterCount = 0
  /// What was found last, for those who wait for it and no longer: a guest chooses how large it is.
  private var newest: Found?
  /// Partitions that clients have open.
  public private(set) var open: [PartitionVolume] = []
  /// Withdrawn ones whose last requests may still be under way.
  private var draining: [PartitionVolume] = []
  /// Told of each partition that is withdrawn, when no request of it is begun any more.
  public var onWithdrawn: (PartitionVolume) -> Void = { _ in }

  /// What was found by a scan that began with this generation.
  private struct Found {
    var scan: PartitionTableScan
    var generation: UInt64
  }

  /// What opening takes of a table.
  private struct KnownTable {
    var generation: UInt64
    var isStable = true
    /// nil where there is no table to go by, for this reason.
    var names: PartitionNames?
    var reason = ""

    init(_ scan: PartitionTableScan, generation: UInt64, isStable: Bool) {
      self.generation = generation
      self.isStable = isStable
      names = scan.usablePartitions.map { PartitionNames($0) }
      if names == nil { reason = scan.reasonNotUsable }
    }
  }

  /// - Parameter request: what reading the table carries down the stack.
  init(_ disk: BlockDevice, _ request: IORequest) {
    self.disk = disk
    self.request = request
  }

  // MARK: What writers of the whole disk call

  @inline(__always)
  func isTable(_ offset: UInt64, _ byteCount: UInt64) -> Bool { areas.overlap(offset, byteCount) }

  /// After a write to the table has ended, well or not; also after the disk's size has changed. Returns when no partition is served that the
  /// table does not bear out.
  public func tableChanged() async {
    generation += 1
    current = nil
    if open.isEmpty && draining.isEmpty {
      if !isScanning { areas = TableAreas() }  // until somebody asks, nobody needs to know
      return
    }
    let needed = generation
    while judgedGeneration < needed { await scanOnce() }
    await drainWithdrawn()
  }

  private func drainWithdrawn() async {
    while let partition = draining.first {
      await partition.drained()
      draining.removeAll { $0 === partition }
    }
    growOpen()
  }

  // MARK: Writing a table of ours

  /// Writes each step and flushes it before the next. Until that has ended no partition is opened; then those that are open are judged by the new
  /// table.
  public func write(_ steps: [[DiskWrite]], _ request: IORequest) async throws(BlockError) {
    assert(!isBeingWritten, "two tables at once")
    isBeingWritten = true
    generation += 1
    current = nil
    var failure: BlockError?
    do throws(BlockError) { try await PartitionTableIO.write(steps, to: disk, request) } catch { failure = error }
    isBeingWritten = false
    writeWaiters.wakeAll()
    await tableChanged()
    if let failure { throw failure }
  }

  // MARK: Reading the table

  /// The table as it is now, with a mark that changes when it does.
  public struct Reading: Sendable {
    public var scan: PartitionTableScan
    /// False when clients wrote the table all the time that it was read: what was found may never have been there as a whole.
    public var isStable: Bool
    let generation: UInt64
  }

  public func read() async -> Reading {
    var tries = 0
    while true {
      while isBeingWritten { await withUnsafeContinuation { writeWaiters.append($0) } }
      let found = await scanOnce()
      tries += 1
      if isUndisturbed(found) { return Reading(scan: found.scan, isStable: true, generation: found.generation) }
      if tries == VolumeLimits.tableReadTries { return Reading(scan: found.scan, isStable: false, generation: 0) }
    }
  }

  /// Nothing was written to the table since that was read.
  public func isCurrent(_ reading: Reading) -> Bool { reading.isStable && reading.generation == generation }

  /// As of now nothing was written to the table since that scan began.
  private func isUndisturbed(_ found: Found) -> Bool { found.generation == generation && !isBeingWritten }

  /// What is remembered, or else read.
  private func known() async -> KnownTable {
    if let current { return current }
    let reading = await read()
    return KnownTable(reading.scan, generation: reading.generation, isStable: reading.isStable)
  }

  /// Reads the table and acts upon it; while somebody else does, waits for that.
  @discardableResult
  private func scanOnce() async -> Found {
    while isScanning {
      scanWaiterCount += 1
      await withUnsafeContinuation { scanWaiters.append($0) }
      scanWaiterCount -= 1
      let found = newest
      if scanWaiterCount == 0 { newest = nil }
      if let found { return found }
    }
    isScanning = true
    let began = generation
    let byteCount = disk.geometry.byteCount
    let scan = await PartitionTableIO.scan(disk, request) { areas.add($0, diskByteCount: byteCount) }
    isScanning = false
    let found = Found(scan: scan, generation: began)
    newest = scanWaiterCount > 0 ? found : nil
    judgedGeneration = began
    // What could not be read may be read the next time: it is no ground to send anybody away, and not remembered.
    if scan.unreadableRange == nil {
      if isUndisturbed(found) { current = KnownTable(scan, generation: began, isStable: true) }
      judge(scan)
    }
    // Whoever asked may open a partition by it, remembered or not.
    let isNeeded = isUndisturbed(found) || !open.isEmpty
    areas = isNeeded ? TableAreas(scan.consultedRanges, diskByteCount: byteCount) : TableAreas()
    scanWaiters.wakeAll()
    return found
  }

  /// Returns when the table is not being read: before the disk is closed. Nobody may ask for it any more.
  public func settle() async {
    while isScanning { await withUnsafeContinuation { scanWaiters.append($0) } }
  }

  /// Withdraws what the table does not bear out; a table that cannot be made sense of says nothing.
  private func judge(_ found: PartitionTableScan) {
    guard let usable = found.usablePartitions else { return }
    for volume in open where !volume.partition.isBorneOut(by: usable) {
      volume.withdraw()
      open.removeAll { $0 === volume }
      draining.append(volume)
      onWithdrawn(volume)
    }
    growOpen()
  }

  /// Lets partitions that are open reach as far as the table says now. Not while requests of one that was withdrawn are under way: they may be
  /// for what another partition gets. Those that are open lie in this table, where none overlaps another, or they would have been withdrawn.
  private func growOpen() {
    guard draining.isEmpty, let usable = current?.names?.partitions else { return }
    for volume in open {
      let same = usable.first { $0.identity == volume.partition.identity && $0.offsetBytes == volume.partition.offsetBytes }
      if let same, same.byteCount > volume.partition.byteCount { volume.grow(to: same) }
    }
  }

  // MARK: Opening

  /// Why a partition cannot be had.
  public enum OpenError: Error, Sendable {
    /// There is no partition of that name.
    case unknown
    /// There is no table to go by; a sentence without a full stop at its end.
    case noTable(String)
  }

  /// The names that partitions can be opened by, and which they open; none where there is no table to go by.
  /// - Parameter limit: so many partitions are named; the others can be opened all the same.
  public func named(limit: Int = .max) async -> [(name: String, partition: UsablePartition)] {
    await known().names?.listed(limit: limit) ?? []
  }

  /// The partition of that name.
  public func find(_ name: String) async throws(OpenError) -> UsablePartition {
    let table = await known()
    return try find(name, in: table)
  }

  private func find(_ name: String, in table: KnownTable) throws(OpenError) -> UsablePartition {
    guard table.isStable, table.generation == generation, !isBeingWritten else { throw .noTable("The partition table is being written") }
    guard let names = table.names else { throw .noTable("The partition table cannot be relied on: \(table.reason)") }
    guard let found = names[name] else { throw .unknown }
    return found
  }

  /// Opens the partition of that name for one more client. Pairs with `close`.
  public func open(_ name: String) async throws(OpenError) -> PartitionVolume {
    var table = await known()
    // What a withdrawn partition has in flight may land where the new one lies.
    while !draining.isEmpty {
      await drainWithdrawn()
      table = await known()
    }
    // Nothing is waited for from here on, so the table is still what was read.
    let partition = try find(name, in: table)
    if let volume = open.first(where: { $0.partition.isSame(as: partition) }) {
      volume.addClient()
      return volume
    }
    let volume = PartitionVolume(disk, partition, of: self, label: "\(disk.label)/\(partition.number)")
    volume.addClient()
    open.append(volume)
    return volume
  }

  /// The client is gone and its last request is done.
  public func close(_ volume: PartitionVolume) {
    volume.removeClient()
    if volume.clientCount == 0 { open.removeAll { $0 === volume } }
  }

  /// Those open partitions that would be withdrawn if the table became this one.
  public func openPartitions(lostBy partitions: [UsablePartition]) -> [PartitionVolume] {
    open.filter { !$0.partition.isBorneOut(by: partitions) }
  }

  /// Connections that have each partition open.
  public var clientCounts: [PartitionIdentity: Int] {
    Dictionary(open.map { ($0.partition.identity, $0.clientCount) }, uniquingKeysWith: +)
  }

  /// Connections that have partitions open, or have lost them and may still have requests under way.
  public var clientCount: Int { (open + draining).reduce(0) { $0 + $1.clientCount } }
}

extension UsablePartition {
  /// The same bytes of the same partition; the label may have changed.
  func isSame(as other: UsablePartition) -> Bool {
    identity == other.identity && offsetBytes == other.offsetBytes && byteCount == other.byteCount
  }
}

extension PartitionTableScan {
  /// What is the matter where there are no usable partitions.
  var reasonNotUsable: String {
    findings.isEmpty ? "a partition lies where the table does" : findings.sentence
  }
}
