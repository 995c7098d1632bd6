import BlockDevice
import Reactor
import Simulation
import VirtualDisk

/// A virtual disk and the model of what it may hold. Everything done goes to both. Ranges count the model's sectors.
public struct ShadowedDisk: Sendable {
  public let disk: VirtualDisk
  public let shadow: ShadowDisk

  public init(disk: VirtualDisk, shadow: ShadowDisk) {
    self.disk = disk
    self.shadow = shadow
  }

  private var sector: UInt64 { UInt64(shadow.sectorByteCount) }

  /// Sectors that the virtual disk has now: the model may be larger, for a disk that is to grow.
  public var sectorCount: UInt64 { min(shadow.sectorCount, disk.geometry.byteCount / sector) }

  public func write(_ sectors: Range<UInt64>, durable: Bool = false) async throws {
    let buffers = disk.reactor.buffers
    let slice = await buffers.acquire(byteCount: sectors.count * shadow.sectorByteCount)
    defer { buffers.release(slice.buffer) }
    let fill = shadow.newFill()
    fill.write(to: slice.bytes, firstSector: sectors.lowerBound, sectorByteCount: shadow.sectorByteCount)
    let write = shadow.writeBegan(sectors, fill)
    do {
      try await disk.write(at: sectors.lowerBound * sector, from: slice, IORequest(flags: durable ? .forceUnitAccess : []))
    } catch {
      shadow.writeFailed(write)
      throw error
    }
    shadow.writeAnswered(write, isDurable: durable)
  }

  public func trim(_ sectors: Range<UInt64>, zeroes: Bool = false, flags: IOFlags = []) async throws {
    let write = shadow.writeBegan(sectors, .zeros)
    let (offset, byteCount) = (sectors.lowerBound * sector, UInt64(sectors.count) * sector)
    do {
      if zeroes {
        try await disk.writeZeroes(at: offset, byteCount: byteCount, IORequest(flags: flags))
      } else {
        try await disk.discard(at: offset, byteCount: byteCount, IORequest(flags: flags))
      }
    } catch {
      shadow.writeFailed(write)
      throw error
    }
    shadow.writeAnswered(write, isDurable: flags.contains(.forceUnitAccess))
  }

  public func flush() async throws {
    let moment = shadow.flushBegan()
    try await disk.flush(IORequest())
    shadow.flushAnswered(moment)
  }

  /// Reads the range and checks every sector. As the NBD server does, it takes zeros that are known
  /// and what the read cache has in place, and leaves a buffer that a
  /// hung request keeps, and asks again. Says whether the cache had it.
  @discardableResult
  public func check(_ sectors: Range<UInt64>) async throws -> Bool {
    try checkZeroRun(sectors)
    if try await checkInPlace(sectors) { return true }
    let buffers = disk.reactor.buffers
    var slice = await buffers.acquire(byteCount: sectors.count * shadow.sectorByteCount)
    defer { buffers.release(slice.buffer) }
    let moment = shadow.readBegan()
    for attempt in 1... {
      do throws(BlockError) {
        try await disk.read(at: sectors.lowerBound * sector, into: slice, IORequest())
        break
      } catch {
        guard error.cause == .stalled, attempt <= 3 else {
          shadow.readFailed(moment)
          throw error
        }
        buffers.release(slice.buffer)
        slice = await buffers.acquire(byteCount: sectors.count * shadow.sectorByteCount)
      }
    }
    try shadow.check(UnsafeRawBufferPointer(slice.bytes), firstSector: sectors.lowerBound, since: moment)
    return false
  }

  /// Checks that what is known to be zeros without a read may be zeros.
  private func checkZeroRun(_ sectors: Range<UInt64>) throws {
    let moment = shadow.readBegan()
    let run = disk.zeroRun(at: sectors.lowerBound * sector, byteCount: UInt64(sectors.count) * sector)
    let count = Int(run.byteCount / sector) * shadow.sectorByteCount  // chunks are whole sectors
    guard run.isZero && count > 0 else { return shadow.readFailed(moment) }
    let zeros = [UInt8](repeating: 0, count: count)
    try zeros.withUnsafeBytes { try shadow.check($0, firstSector: sectors.lowerBound, since: moment) }
  }

  /// Checks what the read cache has of the range, and that it stays as it is while it is sent. False when the cache has not got it.
  private func checkInPlace(_ sectors: Range<UInt64>) async throws -> Bool {
    let moment = shadow.readBegan()
    let byteCount = sectors.count * shadow.sectorByteCount
    guard let slice = disk.readInPlace(at: sectors.lowerBound * sector, byteCount: byteCount, IORequest()) else {
      shadow.readFailed(moment)
      return false
    }
    defer { disk.reactor.buffers.release(slice.buffer) }
    try shadow.check(UnsafeRawBufferPointer(slice.bytes), firstSector: sectors.lowerBound, since: moment)
    let before = Array(slice.bytes)
    await disk.reactor.sleep(milliseconds: disk.reactor.random() % (SimulatedPoolLimits.sendMilliseconds + 1))
    if !before.elementsEqual(slice.bytes) { throw Surprise("a page of the read cache was changed while it was sent to a client") }
    return true
  }

  public func checkAll() async throws {
    var position: UInt64 = 0
    while position < sectorCount {
      let end = min(sectorCount, position + 256)
      try await check(position..<end)
      position = end
    }
  }
}
