import BlockDevice
import Reactor

/// Remembers, apart from the pool's disks, which membership the pool is at, and how far its journal had come: what lets one disk of two go
/// on, and keeps the other, or a copy from the past, from ever starting alone (docs/on-disk-format.md, Membership). Two slots of 4096 bytes; the older is overwritten, and durable before `write`
/// returns.
///
/// It must never be restored from a backup, nor copied: an old witness agrees with the disks that the pool has left behind.
/// Reactor-confined; the device stays the caller's.
public final class Witness: @unchecked Sendable {  // reactor-confined
  public struct Reading: Sendable {
    /// The newest that is whole; nil when the witness holds nothing of this pool.
    public var state: WitnessedState?
    public var epoch: MembershipEpoch? { state?.epoch }
    /// What was found amiss, in words.
    public var notes: [String] = []
  }

  /// What the device must have at least.
  public static let byteCount = UInt64(WitnessSlot.count * WitnessSlot.byteCount)

  public let device: BlockDevice
  private var newest: WitnessSlot?
  private var wasRead = false
  private var isOfAnotherPool = false
  /// Held for good: a membership change must not wait for a buffer of a request that waits for it.
  private var buffer: BufferSlice?

  public init(device: BlockDevice) { self.device = device }

  /// Reads both slots. An empty or damaged slot is passed over (a write that the power cut is no promise); a slot that cannot be read
  /// throws, because it may hold the newest.
  public func read(pool: PoolID) async throws(BlockError) -> Reading {
    guard device.geometry.byteCount >= Witness.byteCount else { throw BlockError(.outOfRange) }
    var reading = Reading()
    var others: Set<PoolID> = []
    var found: WitnessSlot?
    for place in 0..<WitnessSlot.count {
      let block = try await MetadataIO.read(device, at: WitnessSlot.offset(of: place), byteCount: WitnessSlot.byteCount)
      do throws(FormatError) {
        let slot = try WitnessSlot(block.bytes.readOnly, place: place)
        if slot.pool != pool {
          others.insert(slot.pool)
        } else if slot.sequence > found?.sequence ?? 0 {
          found = slot
        }
      } catch {
        if error != .empty { reading.notes.append("Slot \(place) of the witness \(device.label) is damaged: \(error).") }
      }
    }
    isOfAnotherPool = found == nil && !others.isEmpty
    if isOfAnotherPool {
      reading.notes.append(
        "The witness \(device.label) belongs to pool \(others.map(\.description).sorted().joined(separator: ", ")), not to \(pool): "
          + "it is neither believed nor written. Name another file.")
    }
    newest = found
    wasRead = true
    reading.state = found?.state
    return reading
  }

  /// The state is durable when this returns. After an error either may be there, the old or the new.
  func write(_ state: WitnessedState, pool: PoolID) async throws(BlockError) {
    if !wasRead { _ = try await read(pool: pool) }
    guard !isOfAnotherPool else { throw BlockError(.readOnly) }
    let slot = WitnessSlot(pool: pool, sequence: (newest?.sequence ?? 0) + 1, state: state)
    let buffer = await takeBuffer()
    slot.encode(buffer.bytes)
    do throws(BlockError) { try await device.write(at: slot.offset, from: buffer, MetadataIO.durable) } catch {
      // The device may still hold on to the buffer.
      releaseBuffer()
      throw error
    }
    newest = slot
  }

  func takeBuffer() async -> BufferSlice {
    if let buffer { return buffer }
    let fresh = await MetadataIO.ownBuffer(device.reactor, byteCount: WitnessSlot.byteCount)
    buffer = fresh
    return fresh
  }

  func releaseBuffer() {
    if let buffer { device.reactor.buffers.release(buffer.buffer) }
    buffer = nil
  }
}
