/// Which file an operation of the ring belongs to, so that all of one disk's can be found; 0 for those nobody looks for (sockets).
struct OperationOwner: Hashable, Sendable {
  let number: UInt32
  static let none = OperationOwner(number: 0)
}

/// The operations that the kernel has: who waits for each, since when, for which file and with which buffer.
///
/// A place is taken by a few stores and given back when the completion arrives, never earlier: also when its waiter was sent away by
/// `abandon`. So a late completion always finds its own place, and no other operation's waiter.
struct OperationTable {
  private struct Place {
    /// nil while free, and of an operation whose waiter was sent away.
    var waiter: UnsafeContinuation<Int32, Never>?
    var began: Instant
    var owner: OperationOwner
    var buffer: BufferID
  }

  /// What is known of an owner some of whose operations outlive their waiters.
  private struct Leftover {
    var count = 0
    var waiting = WaitQueue(reservedCapacity: 0)
  }

  private var places: UnsafeMutableBufferPointer<Place>
  private var free: [UInt32]
  private var leftovers: [OperationOwner: Leftover] = [:]
  private static let vacant = Place(waiter: nil, began: .distantFuture, owner: .none, buffer: .unpooled)

  init(capacity: Int) {
    places = .allocate(capacity: capacity)
    places.initialize(repeating: OperationTable.vacant)
    free = (0..<UInt32(capacity)).reversed()
  }

  /// Takes a place; its number is the operation's user_data.
  @inline(__always)
  mutating func begin(
    _ waiter: UnsafeContinuation<Int32, Never>, _ owner: OperationOwner, _ buffer: BufferID, at now: Instant
  ) -> UInt64 {
    if free.isEmpty { grow() }
    let index = free.removeLast()
    places[Int(index)] = Place(waiter: waiter, began: now, owner: owner, buffer: buffer)
    return UInt64(index)
  }

  /// The completion has arrived: frees the place and resumes who waits, or lets go of the buffer of one who was sent away.
  @inline(__always)
  mutating func end(_ userData: UInt64, _ result: Int32, _ buffers: BufferPool) {
    let index = Int(userData)
    let waiter = places[index].waiter
    if waiter == nil { endLeftover(places[index], buffers) }
    places[index].waiter = nil
    places[index].owner = .none
    free.append(UInt32(index))
    waiter?.resume(returning: result)
  }

  private mutating func endLeftover(_ place: Place, _ buffers: BufferPool) {
    buffers.release(place.buffer)
    leftovers[place.owner]?.count -= 1
    guard var leftover = leftovers[place.owner], leftover.count == 0 else { return }
    leftovers.removeValue(forKey: place.owner)
    leftover.waiting.wakeAll()
  }

  private mutating func grow() {
    let larger = UnsafeMutableBufferPointer<Place>.allocate(capacity: places.count * 2)
    larger.initialize(repeating: OperationTable.vacant)
    for index in places.indices { larger[index] = places[index] }
    free.append(contentsOf: (UInt32(places.count)..<UInt32(larger.count)).reversed())
    places.deallocate()
    places = larger
  }

  // MARK: One file's operations. These look at every place: for once a second, not for every request.

  /// When the oldest operation of `owner` that somebody waits for began; nil when there is none.
  func oldest(of owner: OperationOwner) -> Instant? {
    var oldest: Instant?
    for place in places where place.owner == owner && place.waiter != nil { oldest = min(oldest ?? place.began, place.began) }
    return oldest
  }

  /// Sends everyone away who waits for an operation of `owner`, with `IOResult.abandoned`. The buffers are kept until the kernel is done.
  mutating func abandon(_ owner: OperationOwner, _ buffers: BufferPool) {
    for index in places.indices where places[index].owner == owner {
      guard let waiter = places[index].waiter.take() else { continue }
      buffers.retain(places[index].buffer)
      leftovers[owner, default: Leftover()].count += 1
      waiter.resume(returning: IOResult.abandoned)
    }
  }

  /// Operations of `owner` whose waiters were sent away and that the kernel still has.
  func leftoverCount(of owner: OperationOwner) -> Int { leftovers[owner]?.count ?? 0 }

  /// For use inside `withUnsafeContinuation`, while there are leftovers.
  mutating func waitForLeftovers(of owner: OperationOwner, _ continuation: UnsafeContinuation<Void, Never>) {
    leftovers[owner, default: Leftover()].waiting.append(continuation)
  }
}
