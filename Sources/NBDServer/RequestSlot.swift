import BlockDevice
import Reactor

/// A place for one request of a connection, from its header to the sending of its reply. Made when the connection first needs it and used
/// again and again, with the one task that works for it.
final class RequestSlot: @unchecked Sendable {  // reactor-confined
  var header = RequestHeader(flags: [], type: 0, cookie: 0, offset: 0, length: 0)
  var command = Command.flush
  var error = ReplyError.none
  /// Where on the export the error is, if that is known.
  var errorOffset: UInt64?
  /// The payload of a WRITE, or of a READ once it is there; of a BLOCK_STATUS the chunks of its reply.
  var payload: BufferSlice?
  /// Where on the export the payload of a READ begins.
  var payloadOffset: UInt64 = 0

  // With replies in chunks only
  /// Of a READ: stretches of data and of zeros, as the chunks that go out.
  var parts: [ReadPart] = []
  /// Of a BLOCK_STATUS: what is to be told.
  var metaContexts: MetaContextSet = []
  /// What the request counts against the connection's limit. Bytes.
  var chargedByteCount = 0

  /// Between the receiver's handing over and the task's end of the work.
  var hasWork = false
  var hasTask = false
  /// It is not used any more: its task ends.
  var isRetired = false
  /// The task, while it has nothing to do.
  var idleTask: UnsafeContinuation<Void, Never>?
}

/// A stretch of a READ.
struct ReadPart {
  /// On the export. Bytes, as `byteCount`.
  var offset: UInt64
  var byteCount: UInt64
  /// It reads as zeros: nothing of it is in the payload.
  var isZero: Bool
}
