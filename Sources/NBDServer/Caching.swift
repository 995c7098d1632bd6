import BlockDevice
import Reactor

extension Transmission {
  /// CACHE: reads what is not zeros, piece by piece, with the hint that its pages are wanted. No more of it than the cache could hold, and no more
  /// zeros are passed over than a limit; nothing at all where there is no cache. Ends early when the client is gone.
  func fillCache(_ slot: RequestSlot) async throws(BlockError) {
    let end = slot.header.offset + slot.header.length  // judged: within the export
    let request = template.with(cacheHint: .willNeed)
    var room = device.readCacheByteCount
    var position = slot.header.offset
    var holeCount = 0
    while position < end && room > 0 && holeCount < WireLimits.cacheHoles && !isEnding {
      let run = device.zeroRun(at: position, byteCount: end - position)
      if run.isZero {
        position += run.byteCount
        holeCount += 1
        if holeCount % WireLimits.cacheHolesPerTurn == 0 { await reactor.sleep(milliseconds: 0) }
        continue
      }
      let piece = WireLimits.cachePieceByteCount
      let count = min(run.byteCount, piece - position % piece, room)
      let slice = await reactor.buffers.acquire(byteCount: Int(count))
      defer { reactor.buffers.release(slice.buffer) }
      try await device.read(at: position, into: slice, request)
      position += count
      room -= count
    }
  }

  private var isEnding: Bool { hasReceivedAll || requester.isGone || isStopping }
}
