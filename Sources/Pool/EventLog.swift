import Reactor

/// What happened to a pool, newest last; kept in its metadata, so that it is there after a restart.
public final class EventLog: @unchecked Sendable {  // reactor-confined
  public private(set) var events: [EventRecord] = []
  private unowned let pool: StoragePool
  private var unsaved: [MetadataChange] = []
  private var isSaving = false

  init(pool: StoragePool) { self.pool = pool }

  /// From the metadata. What cannot be read is left out: it is only history.
  func load(_ store: MetadataStore) {
    var found: [EventRecord] = []
    do throws(MetadataError) { try store.forEachRecord(EventRecord.self) { found.append($0) } } catch { return }
    events = found.sorted { $0.number < $1.number }
  }

  /// Writes down what happened; told to `StoragePool.onEvent` at once, durable a moment later.
  public func add(_ severity: EventRecord.Severity, _ name: String, disk: DiskNumber = DiskNumber(0), _ message: String) {
    let event = EventRecord(
      number: (events.last?.number ?? 0) + 1, seconds: pool.wallClockSeconds(), severity: severity, name: name, disk: disk,
      message: String(message.prefix(FormatLimits.eventMessageByteCount / 4)))
    events.append(event)
    unsaved.append(.put(event))
    if events.count > JobLimits.eventCount { unsaved.append(.delete(events.removeFirst().key)) }
    pool.onEvent?(event)
    save()
  }

  /// In the background: an event that is lost in a crash harms nobody, and what it tells of may be holding up commits.
  private func save() {
    if isSaving || pool.isReadOnly { return }
    isSaving = true
    pool.reactor.spawn { [weak self] in
      while let self, !self.unsaved.isEmpty {
        let changes = self.unsaved
        self.unsaved.removeAll()
        do { try await self.pool.commit(changes) } catch { break }
      }
      self?.isSaving = false
    }
  }
}
